"""Rules for ranges of addresses: who may not come in, and who always may. Kept here, known by heart in every process.

Every change is made under one lock together with the version that all processes watch (models/standing.py), so it
takes effect everywhere within a second, and two admins cannot lock each other out by accident.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, UniqueConstraint, delete, func, select
from sqlalchemy.dialects.postgresql import CIDR
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.addresses import Network, parse_address
from models.constraints import violates
from models.database import Base, CreatedAt, RowId, database_now, snapshot, transaction
from models.errors import ConflictError, InvalidError, NotFoundError
from models.ip_ranges import Action, Ranges, Rule
from models.standing import note_change

REASON_LENGTH_MAX = 500
# How long a rule that has run out can still be read, for whoever asks what was in force last week.
KEPT_AFTER_EXPIRY = func.make_interval(0, 0, 0, 30)


class IpRule(Base):
    """One range and what is done with it. A range can be allowed and denied at once: then it is allowed."""

    __tablename__ = "ip_rules"
    __table_args__ = (
        UniqueConstraint("network", "action"),
        CheckConstraint("action IN ('allow', 'deny')", name="action_is_known"),
        CheckConstraint(f"length(reason) BETWEEN 1 AND {REASON_LENGTH_MAX}", name="reason_has_a_length"),
        CheckConstraint("expires_at > created_at", name="expires_after_it_is_made"),
        CheckConstraint("NOT network <<= '::ffff:0.0.0.0/96'", name="ipv4_is_written_as_ipv4"),
    )

    id: Mapped[RowId]
    network: Mapped[Network] = mapped_column(CIDR)
    action: Mapped[str]
    reason: Mapped[str]
    expires_at: Mapped[datetime | None]
    created_by: Mapped[int]
    created_at: Mapped[CreatedAt]


class IpRuleNotFoundError(NotFoundError):
    code = "IP_RULE_NOT_FOUND"
    message = "There is no such rule"


class IpRuleExistsError(ConflictError):
    code = "IP_RULE_EXISTS"
    message = "There is such a rule for this range already"


class WouldLockYouOutError(ConflictError):
    """The change would deny the very address that it is asked from."""

    code = "WOULD_LOCK_YOU_OUT"
    message = "This would lock you out: your own address would be denied"


@dataclass(frozen=True, slots=True)
class NewIpRule:
    """What a rule is made from; no expiry is for good."""

    network: Network
    action: Action
    reason: str
    expires_at: datetime | None = None


@contextmanager
def _changing(from_address: str) -> Iterator[Session]:
    """One change of the rules, asked for from this address, in a transaction that no other change overlaps.

    Raises IpRuleExistsError, and WouldLockYouOutError where the address would be denied from then on.
    """
    try:
        with transaction() as session:
            note_change(session)
            yield session
            session.flush()
            _refuse_lock_out(session, from_address)
    except IntegrityError as error:
        if violates(error, "uq_ip_rules_network_action"):
            raise IpRuleExistsError from error
        raise


def _refuse_lock_out(session: Session, from_address: str) -> None:
    address = parse_address(from_address)
    if address is None:
        return
    covering = select(IpRule).where(IpRule.network.op(">>=")(func.inet(str(address))))
    if Ranges(_rules_of(session.scalars(covering))).action_for(address, database_now(session)) is Action.DENY:
        raise WouldLockYouOutError


def _rules_of(rows: Iterable[IpRule]) -> list[Rule]:
    return [Rule(row.network, Action(row.action), row.expires_at) for row in rows]


def create_ip_rule(new: NewIpRule, *, actor_id: int, from_address: str) -> IpRule:
    """Make a rule. One for the same range that has run out makes room for it.

    Raises InvalidError for an expiry in the past, IpRuleExistsError and WouldLockYouOutError.
    """
    with _changing(from_address) as session:
        now = database_now(session)
        _check_expiry(new.expires_at, now)
        session.execute(
            delete(IpRule).where(IpRule.network == new.network, IpRule.action == new.action, IpRule.expires_at <= now)
        )
        rule = IpRule(
            network=new.network,
            action=str(new.action),
            reason=new.reason,
            expires_at=new.expires_at,
            created_by=actor_id,
        )
        session.add(rule)
        session.flush()
        session.refresh(rule)
    return rule


def change_ip_rule(rule_id: int, changes: Mapping[str, Any], *, from_address: str) -> IpRule:
    """Change a rule's `reason` or `expires_at` (None: for good).

    Raises InvalidError for an expiry in the past, IpRuleNotFoundError and WouldLockYouOutError.
    """
    with _changing(from_address) as session:
        rule = _find(session, rule_id)
        if "expires_at" in changes:
            _check_expiry(changes["expires_at"], database_now(session))
        for name, value in changes.items():
            setattr(rule, name, value)
        session.flush()
    return rule


def delete_ip_rule(rule_id: int, *, from_address: str) -> IpRule:
    """Raises IpRuleNotFoundError, and WouldLockYouOutError where an allowing rule is what lets the asker in."""
    with _changing(from_address) as session:
        rule = _find(session, rule_id)
        session.delete(rule)
    return rule


def find_ip_rule(rule_id: int) -> IpRule:
    """Raises IpRuleNotFoundError."""
    with transaction() as session:
        return _find(session, rule_id)


def list_ip_rules(page: int, limit: int, action: Action | None = None) -> tuple[list[IpRule], int]:
    """One page of the rules, newest first, and how many there are; those that have run out too."""
    where = [IpRule.action == action] if action else []
    with snapshot() as session:
        total = session.scalar(select(func.count(IpRule.id)).where(*where)) or 0
        query = select(IpRule).where(*where).order_by(IpRule.id.desc()).limit(limit).offset((page - 1) * limit)
        return list(session.scalars(query)), total


def prune_ip_rules() -> int:
    """Delete the rules that ran out long ago; returns how many. They do nothing, so no process needs to know."""
    with transaction() as session:
        gone = session.scalars(
            delete(IpRule).where(IpRule.expires_at < func.now() - KEPT_AFTER_EXPIRY).returning(IpRule.id)
        )
        return len(gone.all())


def _find(session: Session, rule_id: int) -> IpRule:
    rule = session.get(IpRule, rule_id)
    if rule is None:
        raise IpRuleNotFoundError
    return rule


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise InvalidError.field("expiresAt", "must be in the future")
