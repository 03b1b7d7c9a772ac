"""What a sale came to: its totals, how it sold through, who was refused and why, and how long an outcome took."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from models.archives import refuse_archived
from models.product import Product
from models.redisclient import REDIS_AWAY
from models.refusals import keep_refusals, refusals_of
from models.replica import read_lately
from models.sale import FlashSale
from models.sale_rules import SaleNotFoundError

# The curve has so many steps.
CURVE_STEPS = 60
# Upper bounds of the histogram's bars, in ms; what took longer stands in one bar more.
LATENCY_BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)

# Tickets, units and money of a sale by outcome.
TOTALS = text("""
    SELECT status, reason, count(*), coalesce(sum(quantity), 0), sum(total_amount), count(DISTINCT user_id)
    FROM purchases WHERE sale_id = :sale_id GROUP BY status, reason
""")
# Different people in the line, and those who have units.
PEOPLE = text("""
    SELECT count(DISTINCT user_id), count(DISTINCT user_id) FILTER (WHERE status = 'confirmed')
    FROM purchases WHERE sale_id = :sale_id
""")
# How long requests took from admission to outcome, in bars between the bounds, and the points that people ask for.
LATENCIES = text("""
    WITH took AS (
        SELECT greatest(extract(epoch FROM settled_at - admitted_at) * 1000, 0)::float8 AS ms
        FROM purchases WHERE sale_id = :sale_id AND reason IS DISTINCT FROM 'MALFORMED'
    ), bars AS (
        SELECT width_bucket(ms, CAST(:bounds AS float8[])) AS bar, count(*) AS requests FROM took GROUP BY bar
    ), points AS (
        SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY ms) AS at FROM took
    )
    SELECT (SELECT json_object_agg(bar, requests) FROM bars), (SELECT at FROM points)
""")
# Units that came to be sold, and that came back, in equal steps between the first and the last of them.
CURVE = text("""
    WITH moved AS (
        SELECT CASE WHEN kind = 'reservation' AND status = 'confirmed' THEN closed_at ELSE settled_at END AS at,
               quantity AS units
        FROM purchases WHERE sale_id = :sale_id AND status IN ('confirmed', 'refunded')
        UNION ALL
        SELECT closed_at, -quantity FROM purchases WHERE sale_id = :sale_id AND status = 'refunded'
    ), ends AS (
        SELECT least(min(at), CAST(:starts_at AS timestamptz)) AS first, max(at) AS last FROM moved
    ), steps AS (
        SELECT CASE WHEN last = first THEN 1
                    ELSE greatest(1, ceil(:steps * extract(epoch FROM at - first) / extract(epoch FROM last - first)))
               END AS step, units
        FROM moved, ends
    )
    SELECT step, first + (last - first) * (step / CAST(:steps AS float8)), last, sum(units)
    FROM steps, ends GROUP BY step, first, last ORDER BY step
""")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The requests with one outcome; `amount` is Decimal in the sale's currency, None where nothing had a price."""

    status: str
    reason: str | None
    requests: int
    units: int
    amount: Decimal | None
    buyers: int


@dataclass(frozen=True, slots=True)
class Bar:
    """Requests that took less than `up_to_ms` and no less than the bar before; None: however long."""

    up_to_ms: int | None
    requests: int


@dataclass(frozen=True, slots=True)
class Latencies:
    """From admission to outcome. The points are milliseconds, None where nobody was settled."""

    bars: tuple[Bar, ...]
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Units that were sold and not given back until this moment."""

    at: datetime
    sold: int


@dataclass(frozen=True, slots=True)
class Report:
    """A sale and what became of it, at one moment. `refusals` are those before the line, by code, most first."""

    sale: FlashSale
    product: Product
    outcomes: tuple[Outcomes, ...]
    requests: int
    people: int
    buyers: int
    refusals: Mapping[str, int]
    latencies: Latencies
    curve: tuple[CurvePoint, ...]

    @property
    def revenue(self) -> Decimal:
        """Of what is sold and was not taken back, in the sale's currency."""
        return sum((each.amount for each in self.outcomes if each.status == "confirmed" and each.amount), Decimal(0))

    @property
    def sell_through(self) -> float:
        """Sold units in percent of the stock."""
        return 100 * self.sale.sold / self.sale.total_stock if self.sale.total_stock else 0.0

    @property
    def refused(self) -> int:
        return sum(self.refusals.values())

    @property
    def first_and_last_sale(self) -> tuple[datetime, datetime] | None:
        return (self.curve[0].at, self.curve[-1].at) if self.curve else None


def report_of(sale_id: int) -> Report:
    """Count a sale. It reads every purchase of it, so it is for afterwards, and bounded by `database_statement_ms`.

    Raises SaleNotFoundError, HistoryArchivedError, and what PostgreSQL raises when it is away. Redis may be away: then
    the refusals are those that were kept until then.
    """
    with suppress(*REDIS_AWAY):
        keep_refusals(sale_id)
    refusals = refusals_of(sale_id)
    return read_lately(lambda session: _count(session, sale_id, refusals), at_one_moment=True)


def _count(session: Session, sale_id: int, refusals: Mapping[str, int]) -> Report:
    sale = session.get(FlashSale, sale_id)
    if sale is None or sale.archived_at is not None:
        raise SaleNotFoundError
    refuse_archived(session, sale)
    product = session.get_one(Product, sale.product_id)
    rows = session.execute(TOTALS, {"sale_id": sale_id}).all()
    outcomes = tuple(
        Outcomes(str(status), reason, int(requests), int(units), amount, int(buyers))
        for status, reason, requests, units, amount, buyers in rows
    )
    people, buyers = session.execute(PEOPLE, {"sale_id": sale_id}).one()
    return Report(
        sale=sale,
        product=product,
        outcomes=tuple(sorted(outcomes, key=lambda each: -each.requests)),
        requests=sum(each.requests for each in outcomes),
        people=int(people),
        buyers=int(buyers),
        refusals=refusals,
        latencies=_latencies(session, sale_id),
        curve=tuple(_curve(session, sale)),
    )


def _latencies(session: Session, sale_id: int) -> Latencies:
    bounds = [0.0, *map(float, LATENCY_BOUNDS_MS)]
    bars, points = session.execute(LATENCIES, {"sale_id": sale_id, "bounds": bounds}).one()
    counted = {int(bar): int(requests) for bar, requests in (bars or {}).items()}
    uppers = (*LATENCY_BOUNDS_MS, None)
    shown = tuple(Bar(upper, counted.get(position, 0)) for position, upper in enumerate(uppers, 1))
    p50, p95, p99, most = (_ms(point) for point in points or (None,) * 4)
    return Latencies(shown, p50, p95, p99, most)


def _curve(session: Session, sale: FlashSale) -> list[CurvePoint]:
    values: dict[str, Any] = {"sale_id": sale.id, "steps": CURVE_STEPS, "starts_at": sale.starts_at}
    sold, points = 0, []
    for _, at, last, units in session.execute(CURVE, values):
        sold += int(units)
        points.append(CurvePoint(min(at, last), sold))
    return [CurvePoint(sale.starts_at, 0), *points] if points else []


def _ms(took: Any) -> float | None:
    return None if took is None else round(float(took), 1)
