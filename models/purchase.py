"""Purchases: one row for every ticket of a sale's line, with its outcome."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Money


class Kind(StrEnum):
    """What a request asks for: units for good, or a hold on them."""

    PURCHASE = "purchase"
    RESERVATION = "reservation"


class Status(StrEnum):
    """The outcome, and what may follow it.

    queued (no row yet) -> confirmed | reserved | rejected; reserved -> confirmed | cancelled | expired;
    confirmed -> refunded. Nothing else follows anything else.
    """

    QUEUED = "queued"
    CONFIRMED = "confirmed"
    RESERVED = "reserved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class Reason(StrEnum):
    """Why a request was rejected, after the line or before it."""

    SOLD_OUT = "SOLD_OUT"
    INSUFFICIENT_STOCK = "INSUFFICIENT_STOCK"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    NOT_STARTED = "NOT_STARTED"
    ENDED = "ENDED"
    PAUSED = "PAUSED"
    # The same Idempotency-Key was settled under an earlier ticket; `duplicate_of` names it.
    DUPLICATE = "DUPLICATE"
    # The mailbox held something that is no request; it keeps its ticket, so that the line stays without gaps.
    MALFORMED = "MALFORMED"


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Purchase(Base):
    """A request with its outcome; the key is its place in its sale's line.

    `user_id` has no foreign key on purpose: one unknown buyer must not be able to fail a batch of a thousand
    (docs/decisions/0003-the-purchases-table.md). Nor has `sale_id`: a row is written only under its sale's row lock,
    and no sale is ever deleted (docs/decisions/0028-ranges-of-sales.md).
    """

    __tablename__ = "purchases"
    __table_args__ = (
        CheckConstraint("ticket >= 1", name="tickets_start_at_one"),
        CheckConstraint("quantity >= 1 OR reason = 'MALFORMED'", name="quantity_is_positive"),
        CheckConstraint(_one_of("kind", Kind), name="kind_is_known"),
        CheckConstraint(_one_of("status", Status) + " AND status <> 'queued'", name="status_is_an_outcome"),
        CheckConstraint("(status = 'rejected') = (reason IS NOT NULL)", name="a_rejection_has_a_reason"),
        CheckConstraint(_one_of("reason", Reason), name="reason_is_known"),
        CheckConstraint("status NOT IN ('reserved', 'expired') OR expires_at IS NOT NULL", name="a_hold_has_an_expiry"),
        CheckConstraint("(reason = 'DUPLICATE') = (duplicate_of IS NOT NULL)", name="a_duplicate_names_its_first"),
        CheckConstraint("duplicate_of < ticket", name="the_first_came_first"),
        Index(
            "uq_purchases_idempotency_key",
            "sale_id",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("ix_purchases_buyer", "sale_id", "user_id"),
        Index("ix_purchases_user", "user_id", "admitted_at", "sale_id", "ticket"),
        # The leaderboards: of one sale, and of all.
        Index("ix_purchases_confirmed", "sale_id", "ticket", postgresql_where=text("status = 'confirmed'")),
        Index("ix_purchases_latest", "admitted_at", "sale_id", "ticket", postgresql_where=text("status = 'confirmed'")),
        Index("ix_purchases_holds", "expires_at", postgresql_where=text("status = 'reserved'")),
        Index(
            "ix_purchases_original_ticket",
            "sale_id",
            "original_ticket",
            postgresql_where=text("original_ticket IS NOT NULL"),
        ),
        # In parts, each of a range of sales: models/sale_ranges.py.
        {"postgresql_partition_by": "RANGE (sale_id)"},
    )

    sale_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ticket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    user_id: Mapped[int]
    kind: Mapped[str]
    quantity: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str | None]
    unit_price: Mapped[Money | None]
    total_amount: Mapped[Decimal | None] = mapped_column(Numeric(20, 2))
    currency: Mapped[str]
    nonce: Mapped[str]
    idempotency_key: Mapped[str | None]
    duplicate_of: Mapped[int | None]
    # The ticket first given out, where Redis came back from the past and this request had to line up anew.
    original_ticket: Mapped[int | None]
    admitted_at: Mapped[datetime]
    settled_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    # The sale's revision that this row last changed with: what a returning client has not seen yet.
    revision: Mapped[int]


def purchase_id(sale_id: int, ticket: int) -> str:
    """`<sale>-<ticket>`: short enough to read out over a telephone."""
    return f"{sale_id}-{ticket}"


def parse_purchase_id(text_id: str) -> tuple[int, int] | None:
    """(sale, ticket) of a purchase's id, or None where the text is no such id."""
    sale, dash, ticket = text_id.partition("-")
    if not (dash and sale.isascii() and sale.isdigit() and ticket.isascii() and ticket.isdigit()):
        return None
    if max(len(sale), len(ticket)) > 18:  # noqa: PLR2004 - 19 digits may not fit in a bigint
        return None
    return int(sale), int(ticket)
