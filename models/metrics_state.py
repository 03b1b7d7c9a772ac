"""What is known to all processes alike, read at the moment that Prometheus asks: lines, hearts, and what is up.

Every process tells the same of these, so a query takes the `max` of them, not the `sum`.
"""

from collections.abc import Iterable, Iterator

import psycopg
from prometheus_client.core import GaugeMetricFamily, Metric
from redis.exceptions import RedisError

from models import rediskeys
from models.heartbeats import read_workers
from models.lines import Line, read_lines
from models.readiness import UP, check_readiness
from models.redisclient import redis_client

# Lines that are told one by one, those that wait longest; the others are told together, so that ten thousand sales make
# no more series than twenty.
LINES_MAX = 20
OTHERS = "other"
MS_PER_SECOND = 1_000


class SharedState:
    """A collector in the sense of prometheus_client. What cannot be read is left out, and `doorbuster_up` says why."""

    def collect(self) -> Iterator[Metric]:
        checks = check_readiness()
        up = GaugeMetricFamily("doorbuster_up", "Whether a part that selling needs is up", labels=["part"])
        for part, state in checks.items():
            up.add_metric([part], float(state == UP))
        yield up
        try:
            yield from _hearts()
            yield from _lines(read_lines())
        except (psycopg.Error, RedisError):
            return

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: being registered must not ask anybody anything."""
        return []


def _hearts() -> Iterator[Metric]:
    workers, at_ms = read_workers()
    ages = GaugeMetricFamily(
        "doorbuster_worker_heartbeat_age_seconds",
        "How long ago a worker was heard of last",
        labels=["worker", "queues"],
    )
    for worker in workers:
        age_ms = max(0, at_ms - worker.seen_ms)
        ages.add_metric([worker.name, ",".join(worker.queues)], age_ms / MS_PER_SECOND)
    yield ages
    left_ms = max(0, int(redis_client().pttl(rediskeys.BEAT_HEARTBEAT)))  # type: ignore[arg-type]
    late = GaugeMetricFamily(
        "doorbuster_beat_age_seconds", "How long ago a tick of beat reached the chores; no more is known than 15"
    )
    late.add_metric([], rediskeys.BEAT_HEARTBEAT_SECONDS - left_ms / MS_PER_SECOND)
    yield late


def _lines(lines: list[Line]) -> Iterator[Metric]:
    """Longest wait first, as they are read."""
    waiting = GaugeMetricFamily("doorbuster_line_requests", "Requests that wait in a sale's line", labels=["sale"])
    oldest = GaugeMetricFamily(
        "doorbuster_line_oldest_wait_seconds", "How long the oldest request of a line has waited", labels=["sale"]
    )
    for line in lines[:LINES_MAX]:
        waiting.add_metric([str(line.sale_id)], line.waiting)
        oldest.add_metric([str(line.sale_id)], line.oldest_wait_seconds)
    others = lines[LINES_MAX:]
    waiting.add_metric([OTHERS], sum(line.waiting for line in others))
    oldest.add_metric([OTHERS], max((line.oldest_wait_seconds for line in others), default=0.0))
    yield waiting
    yield oldest
