"""What each buyer has bought of each sale: the board by totals is read from here, not counted from purchases.

A row changes in the transaction that changes the sale's `sold`, under the sale's row lock, so that the sum of a sale's
totals is its `sold` at every moment (models/audit.py recounts it) and two writers never meet in this table.
"""

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base
from models.messages import Statement


class BuyerTotal(Base):
    """A buyer's confirmed units of a sale. A buyer without any has no row.

    Neither id has a foreign key: rows are written only beside purchases of the same sale, whose row is locked, and
    checking each of a thousand again would be paid for under that lock.
    """

    __tablename__ = "buyer_totals"
    __table_args__ = (
        CheckConstraint("units >= 1", name="units_are_positive"),
        CheckConstraint("first_ticket >= 1", name="tickets_start_at_one"),
        Index("ix_buyer_totals_rank", "sale_id", text("units DESC"), "first_ticket"),
    )

    sale_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    units: Mapped[int]
    # Among equals, whoever was admitted first stands first.
    first_ticket: Mapped[int]


# A batch's confirmed units, added to what their buyers had.
ADD = """
    INSERT INTO buyer_totals (sale_id, user_id, units, first_ticket)
    SELECT %(sale_id)s, user_id, sum(units), min(ticket)
    FROM unnest(%(users)s::bigint[], %(tickets)s::bigint[], %(units)s::bigint[]) AS bought (user_id, ticket, units)
    GROUP BY user_id
    ON CONFLICT (sale_id, user_id) DO UPDATE
    SET units = buyer_totals.units + excluded.units,
        first_ticket = least(buyer_totals.first_ticket, excluded.first_ticket)
"""

# Units given back by a buyer who has others left; their first purchase may have been the one that went back.
TAKE = text("""
    UPDATE buyer_totals
    SET units = units - :units,
        first_ticket = coalesce(
          (SELECT min(ticket) FROM purchases
           WHERE purchases.sale_id = :sale_id AND purchases.user_id = :user_id AND status = 'confirmed'),
          first_ticket)
    WHERE sale_id = :sale_id AND user_id = :user_id AND units > :units
""")
# Units given back by a buyer who then has none.
REMOVE = text("DELETE FROM buyer_totals WHERE sale_id = :sale_id AND user_id = :user_id AND units <= :units")


def totals_of(sale_id: int, users: str, tickets: str, units: str) -> Statement:
    """What counts units that become confirmed: who, with which ticket, how many, as arrays (models/arrays.py)."""
    return ADD, {"sale_id": sale_id, "users": users, "tickets": tickets, "units": units}


def add_totals(session: Session, sale_id: int, users: str, tickets: str, units: str) -> None:
    """Count units that became confirmed. The caller holds the sale's row lock."""
    statement, values = totals_of(sale_id, users, tickets, units)
    session.connection().exec_driver_sql(statement, dict(values))


def take_totals(session: Session, sale_id: int, user_id: int, units: int) -> None:
    """Count units that are confirmed no longer; the purchases are marked and flushed already.

    The caller holds the sale's row lock.
    """
    values = {"sale_id": sale_id, "user_id": user_id, "units": units}
    session.execute(REMOVE, values)
    session.execute(TAKE, values)
