"""The monthly reset: at 00:00 on the 1st, in each series' own zone, all that is counted by the month starts afresh.

Allotments, buyers' limits and run counters are kept by month, so the new month begins to the instant, whatever beat
does. This writes down that it did: one row for each month of a series, however often, late or doubled it is called.
Past sales are not touched.
"""

from datetime import date, datetime
from itertools import pairwise

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from models.database import transaction
from models.errors import DomainError
from models.months import month_of, month_start, months_after, zone_of
from models.series import Series, SeriesReset

log = structlog.get_logger()

# One month of a series began: with what the month before had come to. Nothing if it is written down already.
RESET = text("""
    INSERT INTO series_resets
        (series_id, month, at, noticed_at, runs_before, drawn_before, buyers_before, units_before)
    SELECT :series_id, :month, :at, :noticed_at,
        coalesce((SELECT runs FROM series_months WHERE series_id = :series_id AND month = :before), 0),
        coalesce((SELECT drawn FROM product_months WHERE product_id = :product_id AND month = :before), 0),
        buyers.buyers, buyers.units
    FROM (
        SELECT count(*) FILTER (WHERE units > 0) AS buyers, coalesce(sum(units), 0) AS units
        FROM buyer_months WHERE series_id = :series_id AND month = :before
    ) AS buyers
    ON CONFLICT (series_id, month) DO NOTHING
    RETURNING month
""")


def reset_months(now: datetime) -> int:
    """Write down the months that have begun by `now` (aware UTC) and are not yet, and return how many.

    Months that nobody noticed because nothing ran are made up for, each with its own instant.
    """
    with transaction() as session:
        last = select(func.max(SeriesReset.month)).where(SeriesReset.series_id == Series.id).scalar_subquery()
        rows = session.execute(select(Series, last).where(Series.ended_at.is_(None)).order_by(Series.id)).all()
    written = 0
    for series, known in rows:
        try:
            zone = zone_of(series.zone)
        except DomainError as error:
            # Dropped from the zone database: the other series' months go on.
            log.warning("series.unresettable", series=series.id, reason=error.message)
            continue
        since = known or month_of(series.created_at, zone)
        begun = list(months_after(since, month_of(now, zone)))
        if begun:
            with transaction() as session:
                for before, month in pairwise([since, *begun]):
                    written += _reset(session, series, before, month, now)
    return written


def _reset(session: Session, series: Series, before: date, month: date, now: datetime) -> bool:
    values = {
        "series_id": series.id,
        "product_id": series.product_id,
        "month": month,
        "before": before,
        "at": month_start(month, zone_of(series.zone)),
        "noticed_at": now,
    }
    return session.execute(RESET, values).one_or_none() is not None
