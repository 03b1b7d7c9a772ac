"""Trips on an event loop: one connection to Redis for all who ask, and a few threads for what cannot be asked so.

Whoever asks in the same turn of the loop goes in the same message, for which Redis writes to its disk once. Answers
come in the order of the questions. As on a thread's own connection (models/gateline.py), nothing is ever sent twice: a
connection that breaks or says nothing for too long leaves all who were under way on it in the dark, and only they are.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import hiredis
from redis.connection import Connection, DefaultParser, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from models.gateline import Copies, NotSentError, gate_lines
from models.settings import settings

T = TypeVar("T")


class LoopTrips:
    """The trips of one event loop; everything but `LoopBell.ring` is called on it. `threads` take what must wait."""

    holds_thread = False

    def __init__(self, threads: Executor) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = threads
        self._line: LoopLine | None = None
        self._opening: asyncio.Task[LoopLine] | None = None
        self._rung: deque[LoopBell] = deque()
        self._is_ringing = False
        self._is_plain = _is_plain()

    async def call(self, command: Iterable[str | int], *, key: str, copies: Copies | None = None) -> Any:
        """The answer of Redis; sent once. Raises as GateLines.call does, and NotSentError where nobody took it.

        A cluster, TLS, and who waits for replicas have connections of their own, in a thread: on a shared one,
        everybody behind whoever waits for replicas would wait as well.
        """
        if copies is not None or not self._is_plain:
            return await self.aside(partial(gate_lines().call, command, key=key, copies=copies))
        line = self._line
        if line is None or line.is_closed:
            line = await self._connect()
        return await line.ask(command)

    async def aside(self, do: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._threads, do)

    def bell(self) -> "LoopBell":
        return LoopBell(self)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()

    async def _connect(self) -> "LoopLine":
        """Whoever comes while a connection is being opened waits for that one: one after the other would have the last
        of a crowd wait for all the tries before."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(_open_line())
        self._line = await asyncio.shield(self._opening)
        return self._line

    def ring(self, bell: "LoopBell") -> None:
        """From any thread. Bells that are rung at once wake the loop once."""
        self._rung.append(bell)
        if not self._is_ringing:
            self._is_ringing = True
            # A loop that has stopped has nobody left who waits.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ring_all)

    def _ring_all(self) -> None:
        # In this order: whoever finds the flag up has put their bell where it is looked for now.
        self._is_ringing = False
        while self._rung:
            self._rung.popleft().ring_here()


class LoopBell:
    """A bell for one who waits on the loop."""

    def __init__(self, trips: LoopTrips) -> None:
        self._trips = trips
        self._is_rung = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._trips.ring(self)

    def ring_here(self) -> None:
        self._is_rung = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def heard(self, seconds: float) -> None:
        if not self._is_rung:
            loop = asyncio.get_running_loop()
            waiting = self._waiting = loop.create_future()
            timer = loop.call_later(max(0.0, seconds), _let_go, waiting)
            try:
                await waiting
            finally:
                timer.cancel()
                self._waiting = None
        self._is_rung = False


def _let_go(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


class LoopLine(asyncio.Protocol):
    """One connection to Redis (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

    def __init__(self, patience_seconds: float) -> None:
        self.is_closed = False
        self._loop = asyncio.get_running_loop()
        self._patience_seconds = patience_seconds
        self._answers = hiredis.Reader(encoding="utf-8", errors="replace", replyError=DefaultParser.parse_error)
        # Who was asked for, and when, by the monotonic clock, in the order of the answers to come.
        self._under_way: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def ask(self, command: Iterable[str | int]) -> Any:
        """The answer. Raises redis errors; what was under way on a connection that ended may have run."""
        if self.is_closed:
            raise NotSentError("the connection has ended")
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]
        self._under_way.append((answer, time.monotonic()))
        if self._watch is None:
            self._watch = self._loop.call_later(self._patience_seconds, self._look_at_the_time)
        said = await answer
        if isinstance(said, Exception):
            raise said
        return said

    def close(self, why: Exception | None = None) -> None:
        """End the connection; whoever is under way on it is told why."""
        self.is_closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._transport is not None:
            self._transport.abort()
        while self._under_way:
            answer, _ = self._under_way.popleft()
            if not answer.done():
                answer.set_exception(why or RedisConnectionError("the connection was closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, why: Exception | None) -> None:
        self.close(RedisConnectionError(f"Redis closed the connection: {why or 'without a word'}"))

    def data_received(self, data: bytes) -> None:
        self._answers.feed(data)
        try:
            while (said := self._answers.gets()) is not False:
                answer, _ = self._under_way.popleft()
                # Whoever is not there any more hears nothing.
                if not answer.done():
                    answer.set_result(said)
        except (hiredis.ProtocolError, IndexError) as why:
            self.close(RedisConnectionError(f"Redis says what is no answer: {why}"))

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None and not self.is_closed:
            self._transport.write(b"".join(unsent))

    def _look_at_the_time(self) -> None:
        self._watch = None
        if not self._under_way:
            return
        _, asked_at = self._under_way[0]
        left = asked_at + self._patience_seconds - time.monotonic()
        if left <= 0:
            self.close(RedisTimeoutError("Redis says nothing"))
        else:
            self._watch = self._loop.call_later(left, self._look_at_the_time)


def _is_plain() -> bool:
    """Whether REDIS_URL is one server by TCP, without TLS."""
    known = settings()
    return not known.redis_is_cluster and _where().get("connection_class", Connection) is Connection


def _where() -> dict[str, Any]:
    return parse_url(settings().redis_url)  # type: ignore[no-any-return, no-untyped-call]


async def _open_line() -> LoopLine:
    """A connection that Redis has let in. Raises NotSentError where there is none."""
    seconds = settings().redis_timeout_seconds
    where = _where()
    loop = asyncio.get_running_loop()
    line: LoopLine | None = None
    try:
        async with asyncio.timeout(seconds):
            _, line = await loop.create_connection(
                lambda: LoopLine(seconds), where.get("host", "localhost"), where.get("port", 6379)
            )
            if "password" in where:
                await line.ask(("AUTH", *([where["username"]] if where.get("username") else []), where["password"]))
            if where.get("db"):
                await line.ask(("SELECT", where["db"]))
    except (OSError, TimeoutError, RedisError) as why:
        if line is not None:
            line.close()
        raise NotSentError(str(why) or "Redis does not take the connection") from why
    return line
