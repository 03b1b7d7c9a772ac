"""The crowd against a shop that is in a bad way: too early, overrun, breaking off, declining to wait."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from models.clock import from_ms, to_iso
from ops.buyers import Buyer
from ops.rush.crowd import Crowd, Party
from ops.rush.patience import JITTER, Patience
from ops.rush.sales import RushSale
from ops.rush.shop import Shop
from ops.rush.tally import Tally

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPENS_IN_SECONDS = 0.2


class BadShop:
    """A shop that answers the tries of every buyer in turn; the last answer is for all that follow."""

    def __init__(self, tries: list[Answer], looks: list[Answer]) -> None:
        self.tries = tries
        self.looks = looks
        self.keys: dict[str, list[str]] = defaultdict(list)
        self.looked: dict[str, int] = defaultdict(int)

    async def buy(self, request: web.Request) -> web.StreamResponse:
        keys = self.keys[request.headers["Authorization"]]
        keys.append(request.headers["Idempotency-Key"])
        return await self.tries[min(len(keys), len(self.tries)) - 1](request)

    async def look(self, request: web.Request) -> web.StreamResponse:
        buyer = request.headers["Authorization"]
        self.looked[buyer] += 1
        return await self.looks[min(self.looked[buyer], len(self.looks)) - 1](request)

    async def rush(self, *, buyers: int = 1, patience_seconds: float = 5.0) -> Tally:
        """Let so many buyers loose on it."""
        app = web.Application()
        app.router.add_post("/api/flash-sales/7/purchases", self.buy)
        app.router.add_get("/api/purchases/{id}", self.look)
        now = time.time()
        sale = RushSale(7, 200, opens_at=now + OPENS_IN_SECONDS, asked_at=now, clock_ahead_seconds=0.0)
        tally = Tally()
        async with TestServer(app) as server, Shop(str(server.make_url("")).rstrip("/"), connections=20) as shop:
            crowd = Crowd(shop, tally, quantity=1, requests_at_once=10, patience_seconds=patience_seconds)
            await crowd.rush([Party(sale, [Buyer(number, f"token-{number}") for number in range(buyers)])])
        return tally


async def accepted(request: web.Request) -> web.Response:
    number = request.headers["Authorization"].rpartition("-")[2]
    return web.json_response({"data": {"purchaseId": f"7-{number}", "status": "queued"}}, status=202)


async def not_started(_: web.Request) -> web.Response:
    body = {"code": "NOT_STARTED", "data": {"startsAt": to_iso(from_ms(int(time.time() * 1000)))}}
    return web.json_response(body, status=409)


async def sold_out(_: web.Request) -> web.Response:
    return web.json_response({"code": "SOLD_OUT"}, status=409)


async def line_full(_: web.Request) -> web.Response:
    return web.json_response({"code": "LINE_FULL"}, status=503, headers={"Retry-After": "0"})


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500, text="<html>")


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def queued(_: web.Request) -> web.Response:
    return web.json_response({"data": {"status": "queued"}})


async def confirmed(_: web.Request) -> web.Response:
    return web.json_response({"data": {"status": "confirmed", "quantity": 1, "settledAt": "2026-11-27T18:00:00Z"}})


def test_a_buyer_gets_through_a_shop_in_a_bad_way_with_the_same_key_every_time() -> None:
    shop = BadShop([not_started, line_full, hangs_up, broken, accepted], [queued, hangs_up, confirmed])

    tally = asyncio.run(shop.rush(buyers=3))

    count = tally.count(7)
    assert (count.accepted, count.confirmed_units, count.lost, count.unanswered) == (3, 3, 0, 0)
    assert [len(keys) for keys in shop.keys.values()] == [5, 5, 5]
    assert len({key for keys in shop.keys.values() for key in keys}) == 3
    # A line that breaks under a GET need not show: aiohttp itself asks once more for what changes nothing.
    assert tally.troubles.pop("CONNECTION") >= 3
    assert tally.troubles == {"NOT_STARTED": 3, "LINE_FULL": 3, "HTTP_500": 3}


def test_a_refusal_is_taken_for_an_answer() -> None:
    shop = BadShop([sold_out], [])

    tally = asyncio.run(shop.rush(buyers=2))

    assert tally.count(7).refused == {"SOLD_OUT": 2}
    assert tally.requests == 2


def test_a_line_that_stays_full_is_a_refusal_in_the_end() -> None:
    tally = asyncio.run(BadShop([line_full], []).rush(patience_seconds=0.3))

    assert tally.count(7).refused == {"LINE_FULL": 1}


@pytest.mark.parametrize("answer", [hangs_up, broken])
def test_a_shop_that_never_answers_leaves_its_buyer_without_an_answer(answer: Answer) -> None:
    tally = asyncio.run(BadShop([answer], []).rush(patience_seconds=0.3))

    assert tally.count(7).unanswered == 1


def test_an_outcome_that_never_comes_is_waited_for_only_so_long() -> None:
    tally = asyncio.run(BadShop([accepted], [queued]).rush(patience_seconds=0.3))

    assert tally.count(7).lost == 1


def test_patience_ends_and_never_waits_less_than_was_asked_for() -> None:
    patience = Patience(60.0, first=0.1)

    pauses = [patience.pause(2.0) for _ in range(50)]

    assert all(pause is not None and 2.0 <= pause <= 2.0 * (1 + JITTER) for pause in pauses)
    assert len(set(pauses)) == 50
    assert Patience(0.0, first=0.1).pause() is None
