"""What each buyer has bought of each sale: the board by totals is read from here, not counted from purchases.

A row changes in the transaction that changes the sale's `sold`, under the sale's row lock, so that the sum of a sale's
totals is its `sold` at every moment (models/audit.py recounts it) and two writers never meet in this table.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.columns import Column, keys, numbers, rows_of
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


# Confirmed units, added to what their buyers had. Between the two halves stand the rows, one of each buyer
# (models/columns.py).
ADD = """
    INSERT INTO buyer_totals (sale_id, user_id, units, first_ticket)
    SELECT %(sale_id)s, user_id, units, ticket FROM """
TO_WHAT_IS_THERE = """
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


def sums_of(users: Sequence[int], tickets: Sequence[int], units: Sequence[int]) -> dict[str, Column]:
    """Units that become confirmed, by buyer: who, with which tickets, how many under each. Tickets are in order."""
    if len(set(users)) < len(users):
        firsts: dict[int, int] = {}
        sums: Counter[int] = Counter()
        for user, ticket, quantity in zip(users, tickets, units, strict=True):
            firsts.setdefault(user, ticket)
            sums[user] += quantity
        users, tickets, units = tuple(firsts), tuple(firsts.values()), tuple(sums.values())
    return {"user_id": keys(users), "ticket": numbers(tickets), "units": numbers(units)}


def totals_of(sale_id: int, sums: Mapping[str, Column]) -> Statement:
    """What counts units that become confirmed (`sums_of`)."""
    rows, values = rows_of(sums)
    return ADD + rows + TO_WHAT_IS_THERE, values | {"sale_id": sale_id}


def add_totals(session: Session, sale_id: int, sums: Mapping[str, Column]) -> None:
    """Count units that became confirmed (`sums_of`). The caller holds the sale's row lock."""
    statement, values = totals_of(sale_id, sums)
    session.connection().exec_driver_sql(statement, dict(values))


def take_totals(session: Session, sale_id: int, user_id: int, units: int) -> None:
    """Count units that are confirmed no longer; the purchases are marked and flushed already.

    The caller holds the sale's row lock.
    """
    values = {"sale_id": sale_id, "user_id": user_id, "units": units}
    session.execute(REMOVE, values)
    session.execute(TAKE, values)
