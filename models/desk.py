"""A sale at this moment, for the operator who watches it: cheap, and as cheap in the middle of a rush as before it.

One row of PostgreSQL by its key, the newest tickets by theirs, and four trips to Redis. Whatever is told as a rate is
told here as a total with the moment it was read at: whoever asks twice has the rate between.
"""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import text

from models import rediskeys
from models.database import snapshot
from models.heartbeats import WorkerSeen, parse_workers, redis_now_ms
from models.mailbox import parse_entry
from models.redisclient import redis_client
from models.refusals import parse_counts
from models.sale import FlashSale
from models.sale_rules import SaleNotFoundError

# Times to outcome are taken from so many of the newest tickets at most, settled within so many seconds.
TICKETS_MAX = 2_000
WINDOW_SECONDS = 60

# How long the newest requests took from admission to outcome, in ms; the newest tickets alone are read, by the key.
TIMES = text("""
    SELECT count(*),
           percentile_disc(0.5) WITHIN GROUP (ORDER BY took_ms),
           percentile_disc(0.99) WITHIN GROUP (ORDER BY took_ms)
    FROM (
        SELECT settled_at, greatest(extract(epoch FROM settled_at - admitted_at) * 1000, 0) AS took_ms
        FROM purchases
        WHERE sale_id = :sale_id AND reason IS DISTINCT FROM 'MALFORMED'
        ORDER BY ticket DESC LIMIT :tickets_max
    ) AS newest
    WHERE settled_at > clock_timestamp() - make_interval(secs => :window_seconds)
""")


@dataclass(frozen=True, slots=True)
class Line:
    """The requests of a sale: how many were ever accepted, how many wait, and how long the oldest has (ms)."""

    accepted: int
    waiting: int
    oldest_wait_ms: int


@dataclass(frozen=True, slots=True)
class OutcomeTimes:
    """From admission to outcome, of requests settled in the last minute; milliseconds, None where there were none."""

    requests: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Desk:
    """What an operator sees. `at_ms` is Redis's clock, by which requests are admitted; `refused` is by code."""

    at_ms: int
    sale: FlashSale
    line: Line
    refused: dict[str, int]
    times: OutcomeTimes
    workers: list[WorkerSeen]
    has_beat: bool


def read_desk(sale_id: int) -> Desk:
    """Raises SaleNotFoundError, and what Redis or PostgreSQL raise when they are away."""
    # Redis first: what it no longer has is committed, so a ticket that moves on between the two is never missing.
    at_ms = redis_now_ms()
    pipeline = redis_client().pipeline(transaction=False)
    pipeline.xrevrange(rediskeys.mailbox(sale_id), count=1)
    pipeline.xlen(rediskeys.mailbox(sale_id))
    pipeline.xrange(rediskeys.mailbox(sale_id), count=1)
    pipeline.hgetall(rediskeys.counts(sale_id))
    newest, waiting, oldest, counts = pipeline.execute()
    sale, times = _read_rows(sale_id)
    workers = cast(dict[str, str], redis_client().hgetall(rediskeys.WORKERS))
    return Desk(
        at_ms=at_ms,
        sale=sale,
        line=_line(sale, at_ms, newest, waiting, oldest),
        refused=parse_counts(counts),
        times=times,
        workers=parse_workers(workers, at_ms),
        has_beat=bool(redis_client().exists(rediskeys.BEAT_HEARTBEAT)),
    )


def _read_rows(sale_id: int) -> tuple[FlashSale, OutcomeTimes]:
    with snapshot() as session:
        sale = session.get(FlashSale, sale_id)
        if sale is None or sale.archived_at is not None:
            raise SaleNotFoundError
        values = {"sale_id": sale_id, "tickets_max": TICKETS_MAX, "window_seconds": WINDOW_SECONDS}
        requests, p50, p99 = session.execute(TIMES, values).one()
    return sale, OutcomeTimes(int(requests), _ms(p50), _ms(p99))


def _line(sale: FlashSale, at_ms: int, newest: list[Any], waiting: int, oldest: list[Any]) -> Line:
    """Tickets start at 1 and leave no gap: the newest is how many were accepted; what no longer waits is settled."""
    accepted = max([sale.settled_through, *(parse_entry(*entry).ticket for entry in newest)])
    first = parse_entry(*oldest[0]) if oldest else None
    wait_ms = max(0, at_ms - first.admitted_ms) if first and not first.malformed else 0
    return Line(accepted, waiting, wait_ms)


def _ms(took: Any) -> float | None:
    return None if took is None else round(float(took), 1)
