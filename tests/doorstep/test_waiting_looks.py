"""Looks that wait for the outcome: heard from the news, both ways, without PostgreSQL."""

import threading

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
from web import looks, stopping
from web.news import news
from web.waiting import waiters


@pytest.fixture
def _ears(ways):
    """This process hears the news, and remembers none of the last test: its sales had the same ids."""
    waiters().missed()
    assert news().wait_until_connected(PATIENCE_SECONDS)


class TestWaiting:
    pytestmark = pytest.mark.usefixtures("_ears")

    def test_whoever_waits_in_line_is_woken_and_postgres_is_not_asked(self, ways, make_sale, me):
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
