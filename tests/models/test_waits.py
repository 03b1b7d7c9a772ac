"""Nobody waits for ever: not even for a PostgreSQL that is there, takes what it is sent, and says nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from models.connections import ANSWER_GRACE_SECONDS
from models.database import engine, transaction
from models.settings import settings

PATIENCE_SECONDS = 60


@pytest.fixture
def freeze(servers) -> Iterator[Callable[[], None]]:
    """freeze() -> every process of PostgreSQL is stopped until the test is over."""
    frozen: list[psutil.Process] = []

    def stop() -> None:
        main = psutil.Process(servers.postgres.pid)
        for process in (main, *main.children(recursive=True)):
            process.suspend()
            frozen.append(process)

    yield stop
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    engine().dispose()


def thaw(servers) -> None:
    main = psutil.Process(servers.postgres.pid)
    for process in (main, *main.children(recursive=True)):
        process.resume()


def test_a_frozen_postgres_is_given_up_a_moment_after_its_own_timeout_and_asked_anew_when_it_is_back(
    store, servers, freeze
):
    with transaction() as session:
        session.execute(text("SELECT 1"))
    freeze()
    started = time.monotonic()

    with pytest.raises(OperationalError), transaction() as session:
        session.execute(text("SELECT 1"))

    waited = time.monotonic() - started
    least = settings().database_statement_ms / 1000 + ANSWER_GRACE_SECONDS
    assert least <= waited < PATIENCE_SECONDS
    thaw(servers)
    with transaction() as session:
        assert session.scalar(text("SELECT 2")) == 2


def test_a_connection_without_the_bound_waits_as_long_as_postgres_is_frozen(servers, freeze):
    """The control: all other timeouts are kept by whoever is frozen."""
    answered = threading.Event()
    options = f"-c statement_timeout={settings().database_statement_ms}"
    with psycopg.connect(servers.postgres.url, options=options, autocommit=True) as connection:
        freeze()

        def ask() -> None:
            with suppress(psycopg.Error):
                connection.execute("SELECT 1")
            answered.set()

        threading.Thread(target=ask, daemon=True).start()

        is_answered = answered.wait(settings().database_statement_ms / 1000 + ANSWER_GRACE_SECONDS + 1)
        thaw(servers)
        answered.wait(PATIENCE_SECONDS)
    assert not is_answered
