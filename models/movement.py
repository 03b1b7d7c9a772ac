"""Stock movements: every change of a sale's stock that is not a claim, with who and why."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Identity, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base


class MovementKind(StrEnum):
    """What moved the stock; `quantity` is signed from the view of what can be sold."""

    INITIAL = "initial"
    RESTOCK = "restock"
    SHRINK = "shrink"
    RESET = "reset"
    HOLD_CANCELLED = "hold_cancelled"
    HOLD_EXPIRED = "hold_expired"
    REFUND = "refund"


# The kinds that change `total_stock`; the others give units of one purchase back.
STOCK_KINDS = (MovementKind.INITIAL, MovementKind.RESTOCK, MovementKind.SHRINK, MovementKind.RESET)


class StockMovement(Base):
    """One movement, written in the transaction that moved the stock."""

    __tablename__ = "stock_movements"
    __table_args__ = (
        CheckConstraint(f"kind IN ({', '.join(repr(str(kind)) for kind in MovementKind)})", name="kind_is_known"),
        CheckConstraint("(kind = 'shrink') = (quantity < 0)", name="only_a_shrink_takes"),
        CheckConstraint(
            "(kind IN ('hold_cancelled', 'hold_expired', 'refund')) = (ticket IS NOT NULL)",
            name="a_release_names_its_ticket",
        ),
        # The sale first, as in every key of what lives with its sale.
        PrimaryKeyConstraint("sale_id", "id"),
        # The newest of all sales.
        Index("ix_stock_movements_id", "id"),
        # As purchases; and as there, no foreign key.
        {"postgresql_partition_by": "RANGE (sale_id)"},
    )

    id: Mapped[int] = mapped_column(Identity(always=False))
    sale_id: Mapped[int]
    kind: Mapped[str]
    quantity: Mapped[int]
    ticket: Mapped[int | None]
    # None: the system itself, such as an expiry.
    actor_id: Mapped[int | None]
    reason: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
