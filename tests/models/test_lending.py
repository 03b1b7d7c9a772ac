"""A connection to PostgreSQL that lay in the pool is looked at before it is lent; asked only after a longer rest."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from models import connections
from models.connections import short_question
from models.database import engine, transaction

OURS = text("SELECT pg_backend_pid()")
END = "SELECT pg_terminate_backend(pid, 10000) FROM unnest(%s::int[]) AS pid"


@pytest.fixture
def pool(store):
    """The engine, without what others left in its pool; and none of what is left there by a test."""
    engine().dispose()
    yield engine()
    engine().dispose()


@pytest.fixture
def pings(pool, monkeypatch):
    """Counts how often PostgreSQL is asked whether a connection still stands."""
    asked = []
    real = pool.dialect.do_ping
    monkeypatch.setattr(pool.dialect, "do_ping", lambda connection: asked.append(1) or real(connection))
    return asked


def two_at_once():
    """The backends of two transactions, whose connections lie in the pool afterwards."""
    with transaction() as one, transaction() as two:
        return {one.scalar(OURS), two.scalar(OURS)}


def end(backends):
    with short_question(5, 20_000) as beside:
        beside.execute(END, [list(backends)])


def test_a_connection_that_came_back_a_moment_ago_is_lent_without_a_trip(pings, monkeypatch):
    monkeypatch.setattr(connections, "TRUSTED_SECONDS", 600)

    assert two_at_once() == two_at_once()
    assert pings == []


def test_after_a_longer_rest_postgresql_is_asked(pings, monkeypatch):
    monkeypatch.setattr(connections, "TRUSTED_SECONDS", 0)

    assert two_at_once() == two_at_once()
    assert len(pings) == 2


@pytest.mark.parametrize("trusted_seconds", [0, 600])
@pytest.mark.usefixtures("pool")
def test_whoever_ended_in_the_pool_is_replaced(monkeypatch, trusted_seconds):
    monkeypatch.setattr(connections, "TRUSTED_SECONDS", trusted_seconds)
    backends = two_at_once()
    end(backends)

    assert not two_at_once() & backends


@pytest.mark.usefixtures("pool")
def test_with_one_that_ended_all_of_its_time_are_replaced(monkeypatch):
    monkeypatch.setattr(connections, "TRUSTED_SECONDS", 600)
    backends = two_at_once()
    with transaction() as session:
        lent_last = session.scalar(OURS)
    end(backends - {lent_last})

    assert not two_at_once() & backends


@pytest.mark.usefixtures("pool")
def test_control_whoever_is_not_looked_at_is_lent_dead(monkeypatch):
    monkeypatch.setattr(connections, "TRUSTED_SECONDS", 600)
    monkeypatch.setattr(connections, "_says_something", lambda _: False)
    end(two_at_once())

    with pytest.raises(OperationalError):
        two_at_once()
