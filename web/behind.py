"""Flask behind the front: a WSGI application that answers in a thread, for requests that came on an event loop.

A thread makes what is said, and the loop sends it: what is long goes in pieces, each made when the one before has left.
So nobody who is slow to send, or to read, holds a thread; whoever finds none free waits for one, but not for long. Not
a library's bridge, since the front has made the environment already and has read the body
(docs/decisions/0035-one-loop-in-front.md).
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog

from web.envelope import refusal_body
from web.environ import Send
from web.json import to_json

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = structlog.get_logger()

# What is longer is made and sent in pieces.
PIECE_BYTES = 256 * 1024
# For a piece to leave; whoever takes none for so long is given up.
PIECE_SECONDS_MAX = 30.0
# For a thread to be free. Whoever asked has hardly more patience, and what nobody waits for any more is not made.
THREAD_SECONDS_MAX = 10.0

Headers = Iterable[tuple[str, str]]


class NoThreadError(Exception):
    """No thread was free in THREAD_SECONDS_MAX: nobody has looked at the request."""


class Behind:
    """A WSGI application and the threads that it answers in, of which nobody else takes any."""

    def __init__(self, application: "WSGIApplication", threads: int, name: str) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = asyncio.Semaphore(threads)

    async def answer(self, environ: "WSGIEnvironment", send: Send) -> None:
        """Have the application answer. Raises NoThreadError with nothing said. What the application lets fall is a 500;
        raises it where its answer has begun, so that the client sees that it is cut off, and TimeoutError where the
        client takes nothing."""
        await self._wait_for_thread()
        loop = asyncio.get_running_loop()
        answer, context = _Answer(self._application, environ), copy_context()
        has_begun = False
        try:
            while True:
                try:
                    piece = await loop.run_in_executor(self._threads, context.run, answer.next_piece)
                finally:
                    if not has_begun:
                        self._free.release()
                async with asyncio.timeout(PIECE_SECONDS_MAX):
                    if not has_begun:
                        has_begun = True
                        await send(answer.head)
                    await send({"type": "http.response.body", "body": piece, "more_body": not answer.is_whole})
                if answer.is_whole:
                    return
        except Exception as error:
            if has_begun and isinstance(error, TimeoutError):
                log.info("front.not_taken", path=environ["PATH_INFO"])
            else:
                log.exception("front.unanswered", path=environ["PATH_INFO"])
            if has_begun:
                raise
            await _say_broken(send)
        finally:
            if not answer.is_whole:
                await loop.run_in_executor(self._threads, context.run, answer.close)

    async def _wait_for_thread(self) -> None:
        """For an answer to begin. What has begun goes on whoever waits here."""
        try:
            async with asyncio.timeout(THREAD_SECONDS_MAX):
                await self._free.acquire()
        except TimeoutError:
            raise NoThreadError from None

    def close(self) -> None:
        """Whoever has a thread is answered; nobody else is."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Answer:
    """What an application says to one request, piece by piece. Everything but the names is a thread's to ask for."""

    def __init__(self, application: "WSGIApplication", environ: "WSGIEnvironment") -> None:
        self.head: dict[str, Any] = {}
        self.is_whole = False
        self._application = application
        self._environ = environ
        self._said: Iterable[bytes] | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._written: list[bytes] = []

    def next_piece(self) -> bytes:
        """What comes next, which is everything where it is short; closes what was said behind its end."""
        if self._said is None:
            self._said = self._application(self._environ, self._start)
            self._pieces = iter(self._said)
        size = sum(map(len, self._written))
        for piece in self._pieces:
            self._written.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                break
        else:
            self.close()
        together, self._written = b"".join(self._written), []
        return together

    def close(self) -> None:
        """The application is done with, or given up. What it raises here comes too late for the client."""
        if not self.is_whole:
            self.is_whole = True
            close = getattr(self._said, "close", None)
            if close is not None:
                close()

    def _start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        """`start_response` (PEP 3333). Nothing has left when it is called again: pieces leave behind the call."""
        if exc_info and self._said is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        self.head = {"type": "http.response.start", "status": int(status[:3]), "headers": encoded(headers)}
        return self._written.append


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(_encoded_name(name), value.encode("latin-1")) for name, value in headers]


@lru_cache(maxsize=256)
def _encoded_name(name: str) -> bytes:
    return name.lower().encode("latin-1")


async def _say_broken(send: Send) -> None:
    body = to_json(refusal_body(500, "INTERNAL_ERROR", "Something went wrong on our side"))
    await send(
        {"type": "http.response.start", "status": 500, "headers": encoded([("Content-Type", "application/json")])}
    )
    await send({"type": "http.response.body", "body": body})
