"""A crowd of buyers who each buy and stay until they know the outcome, on aiohttp and uvloop.

It shares the cores with what it asks, and costs more of them than wrk does: compare it with itself alone.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import uvloop

from bench.buyers import BenchBuyer, BuyersFile
from ops.errors import OpsError

ANSWER_SECONDS_MAX = 20
POLL_SECONDS = 0.05
WAIT_SECONDS = 10
VISITS_AT_ONCE_MAX = 1_000
# A process of live begins to read the news with its first socket; who is told meanwhile, is not told there.
NEWS_SECONDS = 0.5
JSON = {"Content-Type": "application/json"}

# Buys once, and returns when the outcome is known; raises OpsError where it is not the one that was meant.
Visit = Callable[[], Awaitable[None]]
# A place in the crowd: what it needs is opened before its first visit and closed after its last.
Place = Callable[[aiohttp.ClientSession], AbstractAsyncContextManager[Visit]]


@dataclass(frozen=True, slots=True)
class Visits:
    """Outcomes a second, and milliseconds from the first byte sent to the outcome known."""

    rate: float
    p50_ms: float
    p99_ms: float
    count: int


def visit_in_turns(place: Place, visitors: int, seconds: float) -> Visits:
    """So many visitors, each of whom comes again as soon as the last outcome is known."""
    return uvloop.run(_in_turns(place, visitors, seconds))


def visit_at_pace(place: Place, per_second: float, seconds: float) -> Visits:
    """Visitors who come one after the other whether or not those before them are done."""
    return uvloop.run(_at_pace(place, per_second, seconds))


async def _in_turns(place: Place, visitors: int, seconds: float) -> Visits:
    times: list[float] = []
    ready = asyncio.Barrier(visitors + 1)

    async def one(session: aiohttp.ClientSession) -> None:
        async with place(session) as visit:
            await ready.wait()
            end = time.perf_counter() + seconds
            while (began_at := time.perf_counter()) < end:
                await visit()
                times.append(time.perf_counter() - began_at)

    async with _session() as session, asyncio.TaskGroup() as group:
        for _ in range(visitors):
            group.create_task(one(session))
        await ready.wait()
        began_at = time.perf_counter()
    return _summed_up(times, time.perf_counter() - began_at)


async def _at_pace(place: Place, per_second: float, seconds: float) -> Visits:
    times: list[float] = []
    room = asyncio.Semaphore(VISITS_AT_ONCE_MAX)

    async def one(visit: Visit, began_at: float) -> None:
        # From when they meant to come: a shop that falls behind is not spared those who had to wait for it.
        async with room:
            await visit()
        times.append(time.perf_counter() - began_at)

    async with _session() as session, place(session) as visit, asyncio.TaskGroup() as group:
        first = time.perf_counter()
        for number in range(int(per_second * seconds)):
            due = first + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(visit, due))
    return _summed_up(times, seconds)


def _session() -> aiohttp.ClientSession:
    limits = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limits)


def _summed_up(times: list[float], seconds: float) -> Visits:
    if not times:
        raise OpsError("nobody was answered")
    times.sort()
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return Visits(len(times) / seconds, statistics.median(times) * 1000, p99 * 1000, len(times))


class Crowd:
    """The ways to buy and to know. Every visit is another buyer's, but for sockets, where a buyer keeps theirs."""

    def __init__(self, buyers: BuyersFile) -> None:
        self._buyers = buyers

    def post(self, url: str, *, expected: int = 201, headers: dict[str, str] | None = None) -> Place:
        """The answer to the request is the outcome."""

        async def visit(session: aiohttp.ClientSession) -> None:
            await self._send(session, url, self._next(), expected, headers)

        return _without_a_place(visit)

    def post_and_poll(self, url: str, outcomes: str) -> Place:
        """The naive way: ask again every 50 ms."""

        async def visit(session: aiohttp.ClientSession) -> None:
            number = (await self._send(session, url, self._next(), 202))["data"]["request"]
            while (await _get(session, f"{outcomes}/{number}"))["data"]["status"] == "queued":
                await asyncio.sleep(POLL_SECONDS)

        return _without_a_place(visit)

    def post_and_long_poll(self, url: str, outcomes: str) -> Place:
        """Ask once, and be answered when the outcome is there."""

        async def visit(session: aiohttp.ClientSession) -> None:
            buyer = self._next()
            purchase = (await self._send(session, url, buyer, 202))["data"]["purchaseId"]
            path = f"{outcomes}/{purchase}?wait={WAIT_SECONDS}"
            while (status := (await _get(session, path, buyer.headers))["data"]["status"]) == "queued":
                pass
            _must_be_confirmed(status)

        return _without_a_place(visit)

    def post_and_listen(self, url: str, socket: str) -> Place:
        """Hear of the outcome over the WebSocket."""

        @asynccontextmanager
        async def place(session: aiohttp.ClientSession) -> AsyncIterator[Visit]:
            buyer = self._next()
            async with session.ws_connect(socket, headers={"X-Forwarded-For": buyer.address}) as connection:
                await _introduce(connection, buyer)

                async def visit() -> None:
                    purchase = (await self._send(session, url, buyer, 202))["data"]["purchaseId"]
                    while True:
                        frame = orjson.loads(await connection.receive_str(timeout=ANSWER_SECONDS_MAX))
                        if frame["event"] == "purchaseSettled" and frame["data"]["purchaseId"] == purchase:
                            return _must_be_confirmed(frame["data"]["status"])

                yield visit

        return place

    def _next(self) -> BenchBuyer:
        buyer = self._buyers.take(0)
        self._buyers.pass_by(1)
        return buyer

    async def _send(
        self,
        session: aiohttp.ClientSession,
        url: str,
        buyer: BenchBuyer,
        expected: int,
        headers: dict[str, str] | None = None,
    ) -> Any:
        body = b'{"quantity":1}' if "/api/" in url else orjson.dumps({"quantity": 1, "userId": buyer.user_id})
        async with session.post(url, data=body, headers=JSON | buyer.headers | (headers or {})) as answer:
            content = await answer.read()
            if answer.status != expected:
                raise OpsError(f"POST {url} answered {answer.status}, not {expected}: {content[:200]!r}")
            return orjson.loads(content)


def _without_a_place(visit: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> Place:
    @asynccontextmanager
    async def place(session: aiohttp.ClientSession) -> AsyncIterator[Visit]:
        yield lambda: visit(session)

    return place


async def _introduce(connection: aiohttp.ClientWebSocketResponse, buyer: BenchBuyer) -> None:
    """Return when the socket is known as this buyer's, which it is not yet when it is open."""
    await connection.send_str(orjson.dumps({"event": "authenticate", "data": {"token": buyer.token}}).decode())
    frame = orjson.loads(await connection.receive_str(timeout=ANSWER_SECONDS_MAX))
    if frame["event"] != "authenticated":
        raise OpsError(f"a socket answered {frame} to its buyer's token")
    await asyncio.sleep(NEWS_SECONDS)


async def _get(session: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None) -> Any:
    async with session.get(url, headers=headers) as answer:
        content = await answer.read()
        if answer.status != 200:  # noqa: PLR2004 - OK
            raise OpsError(f"GET {url} answered {answer.status}: {content[:200]!r}")
        return orjson.loads(content)


def _must_be_confirmed(status: str) -> None:
    if status != "confirmed":
        raise OpsError(f"a request is {status}, although there are units for everybody")
