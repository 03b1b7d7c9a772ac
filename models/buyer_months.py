"""Buyers' months: what each buyer has of a series' runs of one month together, so that a monthly limit holds.

Order of locks: the sale's row, then the lock of the series' buyers of that month. Two runs of one series that are
settled at the same moment (the end of one line, the start of the next) so count one after the other, and neither waits
for the other's sale.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import TextClause, select, text
from sqlalchemy.orm import Session

from models.decide import Holding, SaleTerms
from models.sale import FlashSale
from models.series import Series

# One transaction at a time counts a series' buyers of a month.
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")

# Units that these buyers have this month.
UNITS = text("""
    SELECT user_id, units FROM buyer_months
    WHERE series_id = :series_id AND month = :month AND user_id = ANY(:users)
""")

# Give these buyers so many units more.
ADD = text("""
    INSERT INTO buyer_months (series_id, month, user_id, units)
    SELECT :series_id, :month, user_id, units
    FROM unnest(CAST(:users AS bigint[]), CAST(:units AS bigint[])) AS claimed (user_id, units)
    ON CONFLICT (series_id, month, user_id) DO UPDATE SET units = buyer_months.units + excluded.units
""")

# Take so many units from these buyers.
TAKE = text("""
    UPDATE buyer_months SET units = buyer_months.units - given.units
    FROM unnest(CAST(:users AS bigint[]), CAST(:units AS bigint[])) AS given (user_id, units)
    WHERE series_id = :series_id AND month = :month AND buyer_months.user_id = given.user_id
""")


def with_month(
    session: Session, sale: FlashSale, terms: SaleTerms, holdings: Mapping[int, Holding], users: Iterable[int]
) -> tuple[SaleTerms, dict[int, Holding]]:
    """A sale's terms and its buyers' holdings with the month's limit and what they have of it.

    The same as they came for a sale that is no run of a series. The sale's row is locked; the month is from here on.
    """
    known = dict(holdings)
    if sale.series_id is None:
        return terms, known
    _lock(session, sale)
    limit = session.scalar(select(Series.max_per_user_month).where(Series.id == sale.series_id))
    if limit is not None:
        for user, units in session.execute(UNITS, _key(sale) | {"users": list(set(users))}):
            known[user] = replace(known.get(user, Holding()), month_units=units)
    return replace(terms, max_per_user_month=limit), known


def add_units(session: Session, sale: FlashSale, claimed: Iterable[tuple[int, int]]) -> None:
    """Count units, as (buyer, units), that a batch gave to buyers of a run."""
    _change(session, sale, ADD, claimed)


def take_units(session: Session, sale: FlashSale, released: Iterable[tuple[int, int]]) -> None:
    """Count units, as (buyer, units), that came back from buyers of a run: by refund, cancel or expiry.

    They come back to the month of their run, whenever that was.
    """
    _change(session, sale, TAKE, released)


def _change(session: Session, sale: FlashSale, statement: TextClause, units: Iterable[tuple[int, int]]) -> None:
    if sale.series_id is None:
        return
    sums: Counter[int] = Counter()
    for user, quantity in units:
        sums[user] += quantity
    if sums:
        _lock(session, sale)
        session.execute(statement, _key(sale) | {"users": list(sums), "units": list(sums.values())})


def _lock(session: Session, sale: FlashSale) -> None:
    session.execute(LOCK, {"name": f"buyers of {sale.series_id} in {sale.month}"})


def _key(sale: FlashSale) -> dict[str, object]:
    return {"series_id": sale.series_id, "month": sale.month}
