"""Copies of both servers at one moment: pg_dump's of PostgreSQL, DUMP's of every key of Redis."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
import redis
from sqlalchemy import text

from models.database import engine, transaction
from models.settings import settings
from models.tables import metadata
from web.app import create_app


class Copies:
    """What both servers held at the moment this was made; either half can be brought back alone."""

    def __init__(self, programs, url: str, client: redis.Redis) -> None:
        self._programs, self._url, self._client = programs, url, client
        self._rows = self._run("pg_dump", "--data-only", "--exclude-table=alembic_version", url)
        self._keys = {key: client.dump(key) for key in client.scan_iter(count=1_000)}

    def bring_back_postgres(self) -> None:
        with transaction() as session:
            session.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
        self._run("psql", "--quiet", "--set=ON_ERROR_STOP=1", self._url, given=self._rows)
        engine().dispose()

    def bring_back_redis(self) -> None:
        self._client.flushall()
        for key, value in self._keys.items():
            self._client.restore(key, 0, value)

    def _run(self, program: str, *arguments: str, given: str = "") -> str:
        command = [str(self._programs / program), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, input=given, timeout=240).stdout


@pytest.fixture
def copy(store) -> Iterator[Callable[[], Copies]]:
    """copy() -> both servers as they are now"""
    with redis.Redis.from_url(settings().redis_url) as client:
        yield lambda: Copies(store.postgres.shipped_binary.parent, store.postgres.url, client)


@pytest.fixture
def app_runner(store):
    """What runs `flask` commands."""
    return create_app().test_cli_runner()
