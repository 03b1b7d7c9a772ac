"""Clocks: Redis's dates every request, PostgreSQL's ends every hold, ours signs every token."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import cast

from redis import Redis
from sqlalchemy import text

from models.database import transaction
from models.doctor.finding import Finding, critical, warning
from models.redisclient import REDIS_AWAY, redis_servers

SKEW_SECONDS_WARNING = 0.5
# A token's leeway: from here on, one machine refuses what the other has just signed.
SKEW_SECONDS_CRITICAL = 5.0
TRIES = 3
CURE = "run chrony or systemd-timesyncd on every machine, and look at it: `chronyc tracking`"


def look() -> Iterator[Finding]:
    postgres = _ahead_seconds(_postgres_seconds)
    yield from _judge("this machine", "PostgreSQL", postgres)
    for name, server in redis_servers().items():
        with suppress(*REDIS_AWAY):  # a node that is away is a finding of its own
            redis = _ahead_seconds(partial(_redis_seconds, server))
            yield from _judge("this machine", name, redis)
            yield from _judge(name, "PostgreSQL", postgres - redis)


def _judge(one: str, other: str, ahead_seconds: float) -> Iterator[Finding]:
    if abs(ahead_seconds) < SKEW_SECONDS_WARNING:
        return
    what = f"the clocks of {one} and {other} are {abs(ahead_seconds):.1f} s apart"
    kind = critical if abs(ahead_seconds) >= SKEW_SECONDS_CRITICAL else warning
    yield kind("CLOCK_SKEW", what, CURE)


def _ahead_seconds(theirs: Callable[[], float]) -> float:
    """How far their clock is ahead of ours: the answer of the quickest of a few tries, dated at its middle."""
    tries = []
    for _ in range(TRIES):
        sent = time.time()
        said = theirs()
        took = time.time() - sent
        tries.append((abs(took), said - (sent + took / 2)))
    return min(tries)[1]


def _redis_seconds(server: Redis) -> float:
    seconds, microseconds = cast(tuple[int, int], server.time())
    return int(seconds) + int(microseconds) / 1_000_000


def _postgres_seconds() -> float:
    with transaction() as session:
        return float(session.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
