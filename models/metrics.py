"""What this process counts for Prometheus: one name, one place. Nothing here is the truth, and nothing waits for it.

With METRICS_DIR the processes of one machine count into files there, and any of them can tell for all; without it each
tells for itself alone. Counting into such a file takes some µs, so the way of a request only notes what happened and
a thread counts once a second.
"""

import os
import threading
import time
from bisect import bisect_left
from collections import Counter as Multiset
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    multiprocess,
    values,
)

from models.once import once
from models.record import PurchaseRecord
from models.settings import settings

if (_directory := settings().metrics_dir) is not None:
    _directory.mkdir(parents=True, exist_ok=True)
    # The library reads this as it is imported, and again wherever it collects. Celery's command line imports it for
    # Flower, long before anything of ours: so it is told once more which kind of value to make.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_directory)
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]

FLUSH_SECONDS = 1.0
# What is noted between two flushes at most; beyond it the oldest is forgotten, and only a number is wrong.
NOTED_MAX = 100_000
MS_PER_SECOND = 1_000

FAST_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZE_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000)


class Tally(Histogram):
    """A histogram that takes many observations at once: one step a bucket, not three an observation."""

    def observe_many(self, amounts: Sequence[float]) -> None:
        if amounts:
            counts: Multiset[int] = Multiset()
            # Of a batch many have waited equally long, to the millisecond.
            for amount, times in Multiset(amounts).items():
                counts[bisect_left(self._upper_bounds, amount)] += times
            for place, count in counts.items():
                self._buckets[place].inc(count)
            self._sum.inc(sum(amounts))


ACCEPTED = Counter("doorbuster_accepted", "Requests that the gate let into a line")
REFUSED = Counter("doorbuster_refused", "Requests that were answered with an error, by its code", ["code"])
ANSWERED = Counter("doorbuster_http_responses", "Answers over HTTP, by the class of their status", ["status"])
GATE_SECONDS = Tally("doorbuster_gate_seconds", "How long the gate took to let a request in", buckets=FAST_BUCKETS)
SETTLED = Counter("doorbuster_settled", "Requests that were settled, by their outcome", ["outcome"])
BATCH_REQUESTS = Tally(
    "doorbuster_settle_batch_requests", "Requests in one transaction of settle", buckets=SIZE_BUCKETS
)
SETTLE_SECONDS = Tally("doorbuster_settle_seconds", "How long one transaction of settle took", buckets=SLOW_BUCKETS)
OUTCOME_SECONDS = Tally("doorbuster_outcome_seconds", "From admission to outcome of a request", buckets=SLOW_BUCKETS)
DISAGREEMENTS = Counter("doorbuster_audit_disagreements", "Recounts of a sale that did not agree with its books")
THROWN_AWAY = Counter("doorbuster_broker_messages_thrown_away", "Messages over the broker that were none")
SOCKETS = Gauge("doorbuster_sockets", "Open WebSockets", multiprocess_mode="livesum")

_admissions: deque[float] = deque(maxlen=NOTED_MAX)
_refusals: deque[str] = deque(maxlen=NOTED_MAX)
_answers: deque[int] = deque(maxlen=NOTED_MAX)


def admitted(seconds: float) -> None:
    """The gate let a request in, after so long. On the hot path: well under a µs."""
    _flusher()
    _admissions.append(seconds)


def refused(code: str) -> None:
    """A request was answered with an error."""
    _refusals.append(code)


def answered(status: int) -> None:
    """An answer went out over HTTP."""
    _flusher()
    _answers.append(status)


def settled(outcomes: Sequence[PurchaseRecord], seconds: float) -> None:
    """A transaction of settle was committed after so long; called behind the commit."""
    BATCH_REQUESTS.observe(len(outcomes))
    SETTLE_SECONDS.observe(seconds)
    for outcome, count in Multiset(record.status for record in outcomes).items():
        SETTLED.labels(outcome).inc(count)
    waits = [
        max(0, record.settled_ms - record.admitted_ms) / MS_PER_SECOND
        for record in outcomes
        if record.settled_ms and record.admitted_ms
    ]
    OUTCOME_SECONDS.observe_many(waits)


def registry() -> CollectorRegistry:
    """What this process counted or, with METRICS_DIR, what those of this machine did."""
    directory = settings().metrics_dir
    if directory is None:
        return _own_registry()
    _forget_the_dead(directory)
    counted = CollectorRegistry()
    multiprocess.MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    return counted


def _own_registry() -> CollectorRegistry:
    own = CollectorRegistry()
    own.register(REGISTRY)
    return own


def _forget_the_dead(directory: Path) -> None:
    """A process that was killed holds no sockets any more; what it counted stays counted."""
    for file in directory.glob("gauge_live*_*.db"):
        process_id = file.stem.rpartition("_")[2]
        if process_id.isdigit() and not _lives(int(process_id)):
            file.unlink(missing_ok=True)


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def flush() -> None:
    """Count what was noted; may run at once in several threads."""
    admissions = _drain(_admissions)
    ACCEPTED.inc(len(admissions))
    GATE_SECONDS.observe_many(admissions)
    for code, count in Multiset(_drain(_refusals)).items():
        REFUSED.labels(code).inc(count)
    for status, count in Multiset(f"{answer // 100}xx" for answer in _drain(_answers)).items():
        ANSWERED.labels(status).inc(count)


def _drain(noted: deque[Any]) -> list[Any]:
    drained = []
    # One by one: others append meanwhile.
    while noted:
        try:
            drained.append(noted.popleft())
        except IndexError:
            break
    return drained


@once
def _flusher() -> threading.Thread:
    """Started with the first request, after a server has forked."""
    thread = threading.Thread(target=_flush_for_ever, name="metrics", daemon=True)
    thread.start()
    return thread


def _flush_for_ever() -> None:
    while True:
        time.sleep(FLUSH_SECONDS)
        flush()
