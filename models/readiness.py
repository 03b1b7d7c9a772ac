"""Whether everything that selling needs is up. Every question is bounded, so that asking never hangs."""

import socket
from urllib.parse import urlsplit

import psycopg
from redis.exceptions import RedisError

from models import rediskeys
from models.connections import short_question
from models.heartbeats import read_workers
from models.lines import read_lines
from models.redisclient import redis_client
from models.revisions import can_run_on
from models.settings import settings
from models.tasks import SETTLEMENTS_QUEUE

CONNECT_SECONDS = 2
STATEMENT_MS = 1_000
# The sweeper wakes a line after 2 s: one that waits so long has nobody who settles it, or more than they can settle.
LINE_LATE_SECONDS = 10.0

UP = "up"


def check_readiness() -> dict[str, str]:
    """Each part by name: "up", or what is wrong with it in a word or two."""
    return check_database() | _check_redis() | _check_broker()


def check_database() -> dict[str, str]:
    """PostgreSQL and its migrations. Over a connection of its own: a pool that is busy selling is not down."""
    try:
        with short_question(CONNECT_SECONDS, STATEMENT_MS) as connection:
            try:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            except psycopg.errors.UndefinedTable:
                row = None
    except psycopg.Error:
        return {"database": "down", "migrations": "unknown"}
    return {"database": UP, "migrations": UP if can_run_on(row and row[0]) else "behind"}


def _check_redis() -> dict[str, str]:
    try:
        worker = _has_worker()
        beat = bool(redis_client().exists(rediskeys.BEAT_HEARTBEAT))
    except RedisError:
        return {"redis": "down", "settleWorker": "unknown", "beat": "unknown"}
    return {"redis": UP, "settleWorker": UP if worker else "silent", "beat": UP if beat else "silent"}


def _has_worker() -> bool:
    """Whether somebody settles. A worker is heard of only while the broker carries its probes (worker/watchdog.py)."""
    workers, at_ms = read_workers()
    heard_since_ms = at_ms - rediskeys.WORKER_HEARTBEAT_SECONDS * 1000
    return any(SETTLEMENTS_QUEUE in worker.queues and worker.seen_ms > heard_since_ms for worker in workers)


def _check_broker() -> dict[str, str]:
    """Where the broker is not the same Redis: whether anybody listens there."""
    known = settings()
    if known.celery_broker_url == known.redis_url:
        return {}
    address = urlsplit(known.celery_broker_url)
    try:
        socket.create_connection((address.hostname or "", address.port or 5672), CONNECT_SECONDS).close()
    except OSError:
        return {"broker": "down"}
    return {"broker": UP}


def read_alarms() -> dict[str, str]:
    """What somebody should look at though selling goes on: "line", with the sale that waits longest."""
    try:
        late = [line for line in read_lines() if line.oldest_wait_seconds > LINE_LATE_SECONDS]
    except (psycopg.Error, RedisError):
        # Said by the checks.
        return {}
    if not late:
        return {}
    worst = late[0]
    return {"line": f"sale {worst.sale_id} has waited {worst.oldest_wait_seconds:.0f} s, {len(late)} wait too long"}
