"""Heartbeats: which Celery workers are there, and when each was last heard of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.exceptions import ResponseError

from models import rediskeys
from models.redisclient import read_count, redis_client

log = structlog.get_logger()

# A worker that was silent for so long is forgotten: it was renamed, or its machine is gone.
FORGOTTEN_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker, the queues that it takes from, and its last heartbeat by Redis's clock (ms since the epoch)."""

    name: str
    queues: tuple[str, ...]
    seen_ms: int


def beat(name: str, queues: Sequence[str]) -> None:
    """Say that this worker is alive. Raises redis errors where Redis is away.

    Where somebody left something else in the place of the workers, it is thrown away: it would silence them all.
    """
    try:
        _beat(name, ",".join(queues))
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        log.warning("heartbeat.spoilt", worker=name)
        redis_client().delete(rediskeys.WORKERS)
        _beat(name, ",".join(queues))


def _beat(name: str, said: str) -> None:
    at_ms = redis_now_ms()
    pipeline = redis_client().pipeline(transaction=False)
    pipeline.set(rediskeys.worker_heartbeat(name), said, ex=rediskeys.WORKER_HEARTBEAT_SECONDS)
    pipeline.hset(rediskeys.WORKERS, name, f"{at_ms}:{said}")
    pipeline.expire(rediskeys.WORKERS, rediskeys.WORKERS_SECONDS)
    pipeline.execute()


def redis_now_ms() -> int:
    """One clock for all: heartbeats of machines whose clocks differ can be compared."""
    seconds, micros = redis_client().time()  # type: ignore[misc]
    return int(seconds) * 1000 + int(micros) // 1000


def read_workers() -> tuple[list[WorkerSeen], int]:
    """The workers of the last hour by name, and what time it is (ms). Raises redis errors where Redis is away."""
    at_ms = redis_now_ms()
    return parse_workers(cast(dict[str, str], redis_client().hgetall(rediskeys.WORKERS)), at_ms), at_ms


def parse_workers(fields: dict[str, str], now_ms: int) -> list[WorkerSeen]:
    """The workers of the last hour by name, from the hash that `beat` writes."""
    seen = []
    for name, said in sorted(fields.items()):
        at, _, queues = said.partition(":")
        seen.append(WorkerSeen(name, tuple(queues.split(",")), read_count(at) or 0))
    return [worker for worker in seen if now_ms - worker.seen_ms < FORGOTTEN_MS]


def forget_silent_workers() -> int:
    """Remove the workers that are silent for good; returns how many."""
    fields = cast(dict[str, str], redis_client().hgetall(rediskeys.WORKERS))
    kept = {worker.name for worker in parse_workers(fields, redis_now_ms())}
    gone: list[Any] = [name for name in fields if name not in kept]
    return int(cast(int, redis_client().hdel(rediskeys.WORKERS, *gone))) if gone else 0
