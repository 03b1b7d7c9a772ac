"""What runs draw on: a product's units and a series' runs of a month. A new month has no row, so it starts afresh.

The product's row is locked by whoever draws (`FOR NO KEY UPDATE`), so two series of one product draw one after the
other.
"""

from datetime import date

from sqlalchemy import text
from sqlalchemy.orm import Session

from models.product import Product
from models.series import Series

# What was drawn of a product's month, with the row locked, and made where it is not there yet.
DRAWN = text("""
    INSERT INTO product_months (product_id, month) VALUES (:product_id, :month)
    ON CONFLICT (product_id, month) DO UPDATE SET drawn = product_months.drawn
    RETURNING drawn
""")

# Draw units of a product's month, or give them back (negative).
DRAW = text("UPDATE product_months SET drawn = drawn + :units WHERE product_id = :product_id AND month = :month")

# Count one run of a series' month, and say how many there are now.
COUNT_RUN = text("""
    INSERT INTO series_months (series_id, month, runs) VALUES (:series_id, :month, 1)
    ON CONFLICT (series_id, month) DO UPDATE SET runs = series_months.runs + 1
    RETURNING runs
""")

# Take one run back.
UNCOUNT_RUN = text("UPDATE series_months SET runs = runs - 1 WHERE series_id = :series_id AND month = :month")


def draw(session: Session, product: Product, month: date, wanted: int) -> int:
    """Draw up to `wanted` units of a product's month, and return how many there were: 0 if nothing is left."""
    key = {"product_id": product.id, "month": month}
    drawn: int = session.execute(DRAWN, key).scalar_one()
    granted = wanted
    if product.monthly_allotment is not None:
        granted = max(min(wanted, product.monthly_allotment - drawn), 0)
    session.execute(DRAW, key | {"units": granted})
    return granted


def give_back(session: Session, product_id: int, month: date, units: int) -> None:
    """Give units back that a run drew and never offered."""
    session.execute(DRAW, {"product_id": product_id, "month": month, "units": -units})


def count_run(session: Session, series: Series, month: date) -> bool:
    """Count one more run of a month; False if the month has its runs. Then the caller rolls back."""
    runs: int = session.execute(COUNT_RUN, {"series_id": series.id, "month": month}).scalar_one()
    return series.runs_per_month is None or runs <= series.runs_per_month


def uncount_run(session: Session, series_id: int, month: date) -> None:
    session.execute(UNCOUNT_RUN, {"series_id": series_id, "month": month})
