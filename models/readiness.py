"""Whether everything that selling needs is up. Every question is bounded, so that asking never hangs."""

import time
from functools import cache
from pathlib import Path
from typing import cast

import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory
from redis.exceptions import RedisError

from models import rediskeys
from models.redisclient import redis_client
from models.settings import settings

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

CONNECT_SECONDS = 2
STATEMENT_MS = 1_000
# Keys are many while a sale runs; a look for heartbeats gives up after this long.
SCAN_SECONDS = 1.0
SCAN_KEYS = 5_000

UP = "up"


def check_readiness() -> dict[str, str]:
    """Each part by name: "up", or what is wrong with it in a word or two."""
    return _check_database() | _check_redis()


@cache
def _newest_migration() -> str | None:
    return ScriptDirectory.from_config(Config(toml_file=str(PYPROJECT))).get_current_head()


def _check_database() -> dict[str, str]:
    """Over a connection of its own: a pool that is busy selling is not down."""
    try:
        with psycopg.connect(
            settings().psycopg_url,
            connect_timeout=CONNECT_SECONDS,
            options=f"-c statement_timeout={STATEMENT_MS}",
            autocommit=True,
        ) as connection:
            try:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            except psycopg.errors.UndefinedTable:
                row = None
    except psycopg.Error:
        return {"database": "down", "migrations": "unknown"}
    at_head = row is not None and row[0] == _newest_migration()
    return {"database": UP, "migrations": UP if at_head else "behind"}


def _check_redis() -> dict[str, str]:
    try:
        redis_client().ping()
        worker = _has_worker()
        beat = bool(redis_client().exists(rediskeys.BEAT_HEARTBEAT))
    except RedisError:
        return {"redis": "down", "settleWorker": "unknown", "beat": "unknown"}
    return {"redis": UP, "settleWorker": UP if worker else "silent", "beat": UP if beat else "silent"}


def _has_worker() -> bool:
    end = time.monotonic() + SCAN_SECONDS
    cursor = 0
    while True:
        answer = redis_client().scan(cursor, match=rediskeys.WORKER_HEARTBEAT_PATTERN, count=SCAN_KEYS)
        cursor, found = cast(tuple[int, list[str]], answer)
        if found:
            return True
        if cursor == 0 or time.monotonic() > end:
            return False
