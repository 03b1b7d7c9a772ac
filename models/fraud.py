"""Fraud records: what velocity noticed about a request, kept for admins to read and to overrule."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Index, delete, func, insert, select, text
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.addresses import Address
from models.database import Base, RowId, database_now, transaction
from models.errors import ConflictError, NotFoundError
from models.settings import settings
from models.standing import note_change

NOTE_LENGTH_MAX = 500
PRUNE_PAGE = 10_000


class Signal(StrEnum):
    """What can look odd about a request."""

    # Many accounts from one address; the subject is the address, or the /64 of an IPv6 address.
    MANY_ACCOUNTS = "many_accounts"
    # Many sales attempted by one account; the subject is the account.
    MANY_SALES = "many_sales"
    # Many buyers of one sale behind one card or address; the subject is the hashed key that the shop gave.
    SHARED_GROUP = "shared_group"


class Verdict(StrEnum):
    """What became of the request: a flag lets it go on."""

    FLAG = "flag"
    REFUSE = "refuse"


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class FraudRecord(Base):
    """One signal about one buyer in one sale. Buyers and sales are noted as the request named them: no foreign keys,
    since a record must never fail for speaking of a sale that does not exist."""

    __tablename__ = "fraud_records"
    __table_args__ = (
        CheckConstraint(_one_of("signal", Signal), name="signal_is_known"),
        CheckConstraint(_one_of("action", Verdict), name="action_is_known"),
        CheckConstraint("score >= 0", name="score_is_not_negative"),
        CheckConstraint("num_nulls(overruled_by, overruled_at, note) IN (0, 3)", name="who_overrules_says_why"),
        CheckConstraint(f"length(note) BETWEEN 1 AND {NOTE_LENGTH_MAX}", name="note_has_a_length"),
        Index("ix_fraud_records_user_id", "user_id", "id"),
        Index("ix_fraud_records_sale_id", "sale_id", "id"),
        Index("ix_fraud_records_signal", "signal", "id"),
        Index("ix_fraud_records_refused", "id", postgresql_where=text("action = 'refuse'")),
        Index("ix_fraud_records_passes", "signal", "subject", postgresql_where=text("overruled_at IS NOT NULL")),
        Index("ix_fraud_records_at", "at", postgresql_where=text("overruled_at IS NULL")),
    )

    id: Mapped[RowId]
    at: Mapped[datetime]
    user_id: Mapped[int]
    address: Mapped[Address | None] = mapped_column(INET)
    sale_id: Mapped[int]
    signal: Mapped[str]
    subject: Mapped[str]
    # In percent of the threshold that was reached: 100 is exactly there, 250 two and a half times as much.
    score: Mapped[int]
    action: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    overruled_by: Mapped[int | None]
    overruled_at: Mapped[datetime | None]
    note: Mapped[str | None]


class FraudRecordNotFoundError(NotFoundError):
    code = "FRAUD_RECORD_NOT_FOUND"
    message = "There is no such record"


class AlreadyOverruledError(ConflictError):
    code = "ALREADY_OVERRULED"
    message = "This record was overruled already"


class NotOverruledError(ConflictError):
    code = "NOT_OVERRULED"
    message = "This record was not overruled"


@dataclass(frozen=True, slots=True)
class NewFraudRecord:
    """A record before it is written; `at` in UTC, `score` in percent of the threshold."""

    at: datetime
    user_id: int
    address: Address | None
    sale_id: int
    signal: Signal
    subject: str
    score: int
    action: Verdict
    details: dict[str, Any]


def write_records(records: Sequence[NewFraudRecord]) -> None:
    """Write them in one transaction. Raises what PostgreSQL raises when it is away."""
    with transaction() as session:
        session.execute(insert(FraudRecord), [asdict(record) for record in records])


@dataclass(frozen=True, slots=True)
class FraudFilter:
    """Which records to list; None takes all."""

    signal: Signal | None = None
    action: Verdict | None = None
    user_id: int | None = None
    sale_id: int | None = None


def list_fraud_records(which: FraudFilter, limit: int, before_id: int | None = None) -> list[FraudRecord]:
    """The newest records, at most `limit` of them, older than `before_id` where it is given."""
    query = select(FraudRecord).order_by(FraudRecord.id.desc()).limit(limit)
    if which.signal is not None:
        query = query.where(FraudRecord.signal == which.signal)
    if which.action is not None:
        query = query.where(FraudRecord.action == which.action)
    if which.user_id is not None:
        query = query.where(FraudRecord.user_id == which.user_id)
    if which.sale_id is not None:
        query = query.where(FraudRecord.sale_id == which.sale_id)
    if before_id is not None:
        query = query.where(FraudRecord.id < before_id)
    with transaction() as session:
        return list(session.scalars(query))


def overrule(record_id: int, *, actor_id: int, note: str) -> FraudRecord:
    """Let the record's subject pass its signal from now on. Raises FraudRecordNotFoundError, AlreadyOverruledError."""
    with transaction() as session:
        record = _lock(session, record_id)
        if record.overruled_at is not None:
            raise AlreadyOverruledError
        moment = database_now(session)
        record.overruled_by, record.overruled_at, record.note = actor_id, moment, note
    return record


def withdraw(record_id: int) -> FraudRecord:
    """Take an overruling back: the subject is counted again, unless another of its records was overruled too.

    Raises FraudRecordNotFoundError, NotOverruledError.
    """
    with transaction() as session:
        record = _lock(session, record_id)
        if record.overruled_at is None:
            raise NotOverruledError
        record.overruled_by, record.overruled_at, record.note = None, None, None
    return record


def _lock(session: Session, record_id: int) -> FraudRecord:
    """A record that is about to be overruled or not, and the version that tells every process of it."""
    note_change(session)
    record = session.get(FraudRecord, record_id, with_for_update=True)
    if record is None:
        raise FraudRecordNotFoundError
    return record


def prune_fraud_records() -> int:
    """Delete old records; returns how many. Those that were overruled stay: what they let pass rests on them."""
    age = func.make_interval(0, 0, 0, settings().fraud_record_days)
    old = select(FraudRecord.id).where(FraudRecord.at < func.now() - age, FraudRecord.overruled_at.is_(None))
    deleted = 0
    while True:
        with transaction() as session:
            page = old.order_by(FraudRecord.at).limit(PRUNE_PAGE)
            gone = session.scalars(delete(FraudRecord).where(FraudRecord.id.in_(page)).returning(FraudRecord.id)).all()
        deleted += len(gone)
        if len(gone) < PRUNE_PAGE:
            return deleted
