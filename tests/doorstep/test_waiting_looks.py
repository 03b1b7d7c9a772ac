"""Looks that wait for the outcome: heard from the news, both ways, without PostgreSQL."""

import threading
from contextlib import contextmanager

import pytest

from models import rediskeys
from models.redisclient import redis_client
from models.revocations import revoke
from models.settle import settle_turn
from models.tokens import read_quickly
from tests.doorstep.looking import (
    PATIENCE_SECONDS,
    assert_told_alike,
    buy,
    eventually,
    look_of,
    settled_when_somebody_waits,
    told,
)
from tests.doorstep.sides import bearer, numbers
from tests.statements import statements
from web import looks, stopping, waiting
from web.news import news
from web.waiting import waiters


@pytest.fixture
def _ears(ways):
    """This process hears the news, and remembers none of the last test: its sales had the same ids."""
    waiters().missed()
    assert news().wait_until_connected(PATIENCE_SECONDS)


def heard_of(make_sale, me):
    """A sale whose news this process hears, with one purchase that it heard of; and the ticket of another in line."""
    sale = make_sale()
    first = buy(sale, me)
    waiters().heard_of(sale.id, first, me)
    settle_turn(sale.id)
    eventually(lambda: waiters().heard_of(sale.id, first, me))
    return sale, buy(sale, me)


@contextmanager
def late_news(monkeypatch, sale):
    """What is said meanwhile arrives when somebody waits for it."""
    hear = waiters().hear

    def later(snapshot, outcomes):
        eventually(lambda: waiters()._waits.get(sale.id))
        hear(snapshot, outcomes)

    with monkeypatch.context() as patched:
        patched.setattr(waiters(), "hear", later)
        yield


@contextmanager
def lost_news(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(waiters(), "hear", lambda *_: None)
        yield


class TestWaiting:
    pytestmark = pytest.mark.usefixtures("_ears")

    def test_whoever_waits_in_line_is_woken_and_postgres_is_not_asked(self, ways, make_sale, me, monkeypatch):
        monkeypatch.setattr(waiting, "FIRST_LOOK_SECONDS", PATIENCE_SECONDS)
        for ask in (ways.through, lambda **environ: (ways.around(**environ), None)):
            sale = make_sale()
            ticket = buy(sale, me)
            with statements() as asked, settled_when_somebody_waits(sale):
                answer, by_doorstep = ask(**look_of(me, sale, ticket, QUERY_STRING="wait=30"))
            assert (told(answer), asked) == ((200, "confirmed"), [])
            assert by_doorstep in (True, None)

    def test_whoever_asks_a_moment_after_the_outcome_hears_it_from_the_news(self, ways, make_sale, me):
        sale = make_sale(total_stock=1)
        tickets = {"confirmed": buy(sale, me), "rejected": buy(sale, me)}
        waiters().heard_of(sale.id, 1, me)
        settle_turn(sale.id)
        eventually(lambda: waiters().heard_of(sale.id, tickets["rejected"], me))

        for status, ticket in tickets.items():
            with statements() as asked:
                answer = assert_told_alike(ways, **look_of(me, sale, ticket, QUERY_STRING="wait=30"))
            assert (told(answer), asked) == ((200, status), [])
        with statements() as asked:
            assert told(ways.through(**look_of(me, sale, 1))[0]) == (200, "confirmed")
        assert len([each for each in asked if "FROM purchases" in each]) == 1, "or nothing is counted here"
        theirs = look_of(next(numbers), sale, 1, QUERY_STRING="wait=30")
        assert told(assert_told_alike(ways, by_doorstep=False, **theirs)) == (404, "PURCHASE_NOT_FOUND")

    def test_an_outcome_that_comes_while_redis_is_asked_is_heard_from_the_news(self, ways, make_sale, me, monkeypatch):
        look_there = looks.look
        for ask in (ways.through, lambda **environ: (ways.around(**environ), None)):
            sale = make_sale()
            ticket = buy(sale, me)

            async def settle_first(trips, onlooker, place, sale=sale, ticket=ticket):
                settling = threading.Thread(target=settle_turn, args=(sale.id,))
                settling.start()
                settling.join()
                eventually(lambda: waiters().heard_of(sale.id, ticket, me))
                return await look_there(trips, onlooker, place)

            monkeypatch.setattr(looks, "look", settle_first)
            with statements() as asked:
                answer, _ = ask(**look_of(me, sale, ticket, QUERY_STRING="wait=30"))
            assert (told(answer), asked) == ((200, "confirmed"), [])

    def test_whoever_asks_while_the_news_are_on_their_way_hears_them_and_postgres_is_not_asked(
        self, ways, make_sale, me, monkeypatch
    ):
        monkeypatch.setattr(waiting, "FIRST_LOOK_SECONDS", PATIENCE_SECONDS)
        for ask in (ways.through, lambda **environ: (ways.around(**environ), None)):
            sale, ticket = heard_of(make_sale, me)
            with late_news(monkeypatch, sale):
                settle_turn(sale.id)
                with statements() as asked:
                    answer, _ = ask(**look_of(me, sale, ticket, QUERY_STRING="wait=30"))
            assert (told(answer), asked) == ((200, "confirmed"), [])

    def test_news_that_never_come_are_in_postgres(self, ways, make_sale, me, monkeypatch):
        sale, ticket = heard_of(make_sale, me)
        with lost_news(monkeypatch):
            settle_turn(sale.id)
            answer = assert_told_alike(ways, **look_of(me, sale, ticket, QUERY_STRING="wait=30"))

        assert told(answer) == (200, "confirmed")

    def test_nobody_waits_for_what_was_never_asked_for_nor_for_news_that_came(self, ways, make_sale, me, monkeypatch):
        monkeypatch.setattr(waiting, "FIRST_LOOK_SECONDS", PATIENCE_SECONDS)
        sale, ticket = heard_of(make_sale, me)
        settle_turn(sale.id)
        eventually(lambda: waiters().heard_of(sale.id, ticket, me))
        waited = []
        monkeypatch.setattr(waiters(), "_register", lambda *place: waited.append(place))

        for viewer, at in ((me, ticket + 1), (next(numbers), ticket)):
            environ = look_of(viewer, sale, at, QUERY_STRING="wait=30")
            answer = assert_told_alike(ways, by_doorstep=False, **environ)
            assert told(answer) == (404, "PURCHASE_NOT_FOUND")
        assert waited == []

    def test_a_token_that_was_given_back_hears_nothing_though_the_news_had_it(self, ways, make_sale, me):
        sale = make_sale()
        ticket = buy(sale, me)
        waiters().heard_of(sale.id, ticket, me)
        settle_turn(sale.id)
        eventually(lambda: waiters().heard_of(sale.id, ticket, me))
        token = bearer(me)
        claims = read_quickly(token.removeprefix("Bearer "), "access")

        for query in ("wait=30", ""):
            environ = look_of(me, sale, ticket, QUERY_STRING=query, HTTP_AUTHORIZATION=token)
            assert told(assert_told_alike(ways, **environ)) == (200, "confirmed")
        revoke(me, claims.jti, claims.expires_at)
        for query in ("wait=30", ""):
            environ = look_of(me, sale, ticket, QUERY_STRING=query, HTTP_AUTHORIZATION=token)
            assert told(assert_told_alike(ways, by_doorstep=False, **environ)) == (401, "TOKEN_REVOKED")

    def test_an_outcome_whose_entry_still_lies_in_the_mailbox_is_shown(self, ways, make_sale, me, monkeypatch):
        """A worker that died between the commit and the telling: the mailbox says that it waits, PostgreSQL knows."""
        sale = make_sale()
        ticket = buy(sale, me)
        monkeypatch.setattr("models.settle.announce", lambda *_, **__: None)
        settle_turn(sale.id)
        assert redis_client().xlen(rediskeys.mailbox(sale.id)) == 1

        for query in ("", "wait=30"):
            answer = assert_told_alike(ways, **look_of(me, sale, ticket, QUERY_STRING=query))
            assert told(answer) == (200, "confirmed")

    def test_whoever_finds_no_place_to_wait_is_told_how_it_stands(self, ways, make_sale, me, monkeypatch):
        sale = make_sale()
        monkeypatch.setattr(waiters(), "_places", threading.BoundedSemaphore(1))
        assert waiters()._places.acquire()

        answer = assert_told_alike(ways, **look_of(me, sale, buy(sale, me), QUERY_STRING="wait=30"))

        assert told(answer) == (200, "queued")

    def test_a_process_that_stops_tells_those_who_wait_how_it_stands(self, ways, make_sale, me, monkeypatch):
        sale = make_sale()
        ticket = buy(sale, me)

        def stop():
            eventually(lambda: waiters()._waits.get(sale.id))
            monkeypatch.setattr(stopping, "_asked", True)
            monkeypatch.setattr(waiters(), "_leaving", True)
            waiters().missed()

        stopper = threading.Thread(target=stop)
        stopper.start()
        answer, by_doorstep = ways.through(**look_of(me, sale, ticket, QUERY_STRING="wait=30"))
        stopper.join()
        refused, refused_there = ways.through(**look_of(me, sale, ticket))

        assert (told(answer), by_doorstep, answer.headers["Connection"]) == ((200, "queued"), True, "close")
        assert (told(refused)[0], refused_there, refused.headers["Connection"]) == (503, False, "close")
