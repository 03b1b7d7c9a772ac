"""The operators' log: who changed what, when, and by which request. Rows are added and read, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, RowId, transaction
from models.user import User

ACTION_LENGTH_MAX = 100
SUBJECT_LENGTH_MAX = 100


class OperatorEntry(Base):
    """One thing that an operator did. `subject` is `<noun>:<id>`, such as `sale:7`."""

    __tablename__ = "operator_log"
    __table_args__ = (
        CheckConstraint(f"length(action) BETWEEN 1 AND {ACTION_LENGTH_MAX}", name="action_has_a_length"),
        CheckConstraint(f"length(subject) <= {SUBJECT_LENGTH_MAX}", name="subject_has_a_length"),
        CheckConstraint("jsonb_typeof(details) = 'object'", name="details_are_an_object"),
        Index("ix_operator_log_actor_id", "actor_id", "id"),
        Index("ix_operator_log_subject", "subject", "id"),
    )

    id: Mapped[RowId]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    # No foreign key: whatever becomes of the account, what it did stays.
    actor_id: Mapped[int]
    action: Mapped[str]
    subject: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    request_id: Mapped[str]


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which entries to list; None takes all."""

    actor_id: int | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class LoggedAction:
    """An entry with the name of whoever did it, or None where the account is gone."""

    entry: OperatorEntry
    actor: str | None


def note_action(actor_id: int, action: str, subject: str | None, details: Mapping[str, Any], request_id: str) -> None:
    """Write an entry. Raises what PostgreSQL raises when it is away."""
    with transaction() as session:
        session.add(
            OperatorEntry(
                actor_id=actor_id,
                action=action[:ACTION_LENGTH_MAX],
                subject=subject and subject[:SUBJECT_LENGTH_MAX],
                details=dict(details),
                request_id=request_id,
            )
        )


def list_actions(which: LogFilter, limit: int, before_id: int | None = None) -> list[LoggedAction]:
    """The newest entries, at most `limit` of them, older than `before_id` where it is given."""
    query = select(OperatorEntry, User.name).outerjoin(User, User.id == OperatorEntry.actor_id)
    if which.actor_id is not None:
        query = query.where(OperatorEntry.actor_id == which.actor_id)
    if which.subject is not None:
        query = query.where(OperatorEntry.subject == which.subject)
    if before_id is not None:
        query = query.where(OperatorEntry.id < before_id)
    with transaction() as session:
        rows = session.execute(query.order_by(OperatorEntry.id.desc()).limit(limit)).all()
    return [LoggedAction(entry, name) for entry, name in rows]
