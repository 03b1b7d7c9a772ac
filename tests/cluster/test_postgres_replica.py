"""Reads that may be a moment old: at a real standby while it keeps up, at the primary when it does not."""

from collections.abc import Iterator

import psutil
import pytest
from sqlalchemy import text

from models import replica
from models.leaderboard import by_totals, chronological, latest_across_sales
from models.replica import Replica, read_lately
from models.report import report_of
from models.sale_queries import SaleFilter, list_sales, live_sales
from models.settings import settings
from ops.postgres import EmbeddedPostgres
from tests.cluster.pointed import pointed_at
from tests.cluster.replicas import ask, copy_of, eventually, has_everything_of, is_followed

PORT = text("SELECT inet_server_port()")


@pytest.fixture(scope="module")
def follower(servers) -> Iterator[EmbeddedPostgres]:
    with copy_of(servers.postgres, follows=True) as standby:
        yield standby


@pytest.fixture
def standby(store, follower, monkeypatch) -> Iterator[EmbeddedPostgres]:
    """A standby that this process may read from, with all that there is."""
    monkeypatch.setattr(replica, "AWAY_SECONDS", 0.2)
    if follower.pid is None:
        follower.start()
    eventually(lambda: is_followed(store.postgres) and has_everything_of(follower, store.postgres), "it follows")
    with pointed_at(DATABASE_REPLICA_URL=follower.url, DATABASE_STATEMENT_MS="1000"):
        yield follower


def answering() -> int:
    """The port of the server that answers a read which may be a moment old."""
    return int(read_lately(lambda session: session.scalar(PORT)))


def the_replica() -> Replica:
    found = replica.replica()
    assert found is not None
    return found


def test_what_may_be_a_moment_old_is_read_at_the_standby(standby, make_sale, store, monkeypatch):
    sale = make_sale()
    eventually(lambda: has_everything_of(standby, store.postgres), "the standby has the sale")
    asked: list[int] = []

    def spy(read, **how):
        def ask_and_note(session):
            asked.append(session.scalar(PORT))
            return read(session)

        eventually(lambda: answering() == standby.port, "the standby is known to be fresh")
        return read_lately(ask_and_note, **how)

    for module in ("sale_queries", "leaderboard", "report"):
        monkeypatch.setattr(f"models.{module}.read_lately", spy)

    assert [each.id for each in list_sales(SaleFilter())[0]] == [sale.id]
    assert [each.id for each in live_sales()] == [sale.id]
    assert (chronological(sale.id, 10), by_totals(sale.id, 10), latest_across_sales(10)) == ([], [], [])
    assert report_of(sale.id).sale.id == sale.id
    assert len(asked) == 6
    assert set(asked) == {standby.port}


def test_a_standby_that_lags_is_not_asked_until_it_has_caught_up(standby, store, make_sale):
    eventually(lambda: answering() == standby.port, "the standby is fresh")
    ask(standby, "SELECT pg_wal_replay_pause()")
    try:
        sale = make_sale()

        eventually(
            lambda: [each.id for each in list_sales(SaleFilter())[0]] == [sale.id], "nobody sees an old list for long"
        )
        assert answering() == store.postgres.port
        assert ask(standby, "SELECT id FROM flash_sales") == [], "the control: it could not have said so"
    finally:
        ask(standby, "SELECT pg_wal_replay_resume()")
    eventually(lambda: answering() == standby.port, "the standby has caught up")
    assert [each.id for each in list_sales(SaleFilter())[0]] == [sale.id]


def test_an_idle_primary_makes_no_standby_look_late(standby):
    """By the age of the last transaction it would: nobody has written anything for a while."""
    the_replica().look()

    assert the_replica().is_fresh()


def test_a_standby_that_dies_in_the_middle_is_stood_in_for_and_asked_again_when_it_is_back(standby, store):
    eventually(lambda: answering() == standby.port, "the standby is fresh")

    def kill_and_ask(session):
        port = session.scalar(PORT)
        if port == standby.port:
            standby.kill()
        return session.scalar(PORT)

    assert read_lately(kill_and_ask) == store.postgres.port
    assert answering() == store.postgres.port

    standby.start()
    eventually(lambda: answering() == standby.port, "the standby is asked again")


def test_a_standby_that_says_nothing_holds_nobody_up_for_long(standby, store):
    eventually(lambda: answering() == standby.port, "the standby is fresh")
    family = [psutil.Process(standby.pid), *psutil.Process(standby.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        assert answering() == store.postgres.port, "after the bound of one answer"
        assert not the_replica().is_fresh()
    finally:
        for process in family:
            process.resume()


def test_a_server_that_is_no_standby_is_not_asked(store):
    with pointed_at(DATABASE_REPLICA_URL=store.postgres.url):
        the_replica().look()

        assert not the_replica().is_fresh()


def test_without_a_standby_the_primary_has_it_all(store):
    assert settings().database_replica_url == ""
    assert answering() == store.postgres.port
