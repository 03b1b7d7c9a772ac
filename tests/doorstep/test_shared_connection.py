"""The one connection to Redis that all who ask on web's loop share: what becomes of those under way when it ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from models.settings import settings
from tests.doorstep.sides import bearer, numbers
from web.app import create_app
from web.front import Front
from web.standing import standing_copy

BUYERS = 8
# A machine that does much else takes its time over each of them.
TOLD_SECONDS_MAX = 60


class Crowd:
    """Buyers of one sale who ask at once, each with a key of their own."""

    def __init__(self, front, sale):
        self._front = front
        self._path = f"/api/flash-sales/{sale.id}/purchases"
        self._tokens = [bearer(next(numbers)) for _ in range(BUYERS)]

    def ask(self):
        """What all of them are told, as (status, code, purchase's id)."""
        return asyncio.gather(*(self._ask(token) for token in self._tokens))

    async def _ask(self, token):
        body, said = b'{"quantity":1}', []
        headers = {
            "Authorization": token,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Idempotency-Key": "one",
        }
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self._path,
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "server": ("shop.test", 80),
            "client": ("127.0.0.1", 4000),
        }

        async def receive():
            return {"type": "http.request", "body": body}

        async def send(message):
            said.append(message)

        async with asyncio.timeout(TOLD_SECONDS_MAX):
            await self._front(scope, receive, send)
        told = orjson.loads(b"".join(message.get("body", b"") for message in said))
        return said[0]["status"], told.get("code"), (told.get("data") or {}).get("purchaseId")


@asynccontextmanager
async def opened(front: Front) -> AsyncIterator[None]:
    """The front between its start and its end, as a server has it."""
    heard, said = asyncio.Queue(), asyncio.Queue()
    life = asyncio.create_task(front({"type": "lifespan"}, heard.get, said.put))
    await heard.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    yield
    await heard.put({"type": "lifespan.shutdown"})
    await life


@pytest.fixture
def front(store):
    assert standing_copy().renew()
    return Front(create_app())


async def _all_under_way_are_in_the_dark_and_their_keys_tell(front, sale, redis, *, ends_by):
    """Redis stops while a crowd is under way, and the trip ends by this; later Redis is there again."""
    async with opened(front):
        crowd, early = Crowd(front, sale), Crowd(front, sale)
        before = await early.ask()
        os.kill(redis.pid, signal.SIGSTOP)
        under_way = asyncio.ensure_future(crowd.ask())
        # All are sent, and none is answered.
        await asyncio.sleep(settings().redis_timeout_seconds / 4)
        assert not under_way.done()
        await asyncio.to_thread(ends_by)
        in_the_dark = await under_way
        await asyncio.to_thread(_back, redis)
        after = await crowd.ask()

        assert [status for status, *_ in before] == [202] * BUYERS
        assert [(status, code) for status, code, _ in in_the_dark] == [(503, "UNAVAILABLE")] * BUYERS
        assert [status for status, *_ in after] == [202] * BUYERS
        # Who asks again has one place, whether the first try had come to Redis or not.
        assert len({purchase for *_, purchase in (*before, *after)}) == 2 * BUYERS
        assert await crowd.ask() == after


def _back(redis):
    if redis.pid is not None:
        os.kill(redis.pid, signal.SIGCONT)
    else:
        redis.start()


def test_whoever_is_under_way_when_redis_hangs_is_told_so_and_has_one_place_by_their_key(
    front, make_sale, store, waiting
):
    sale = make_sale()
    try:
        # Nobody does anything: it is waited for REDIS_TIMEOUT_SECONDS.
        asyncio.run(_all_under_way_are_in_the_dark_and_their_keys_tell(front, sale, store.valkey, ends_by=lambda: None))
    finally:
        _back(store.valkey)
    assert waiting(sale.id) == 2 * BUYERS


def test_whoever_is_under_way_when_the_connection_breaks_is_told_so_and_has_one_place_by_their_key(
    front, make_sale, store, waiting
):
    sale = make_sale()
    try:
        asyncio.run(
            _all_under_way_are_in_the_dark_and_their_keys_tell(front, sale, store.valkey, ends_by=store.valkey.kill)
        )
    finally:
        _back(store.valkey)
    assert waiting(sale.id) == 2 * BUYERS
