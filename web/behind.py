"""Flask behind the front: a WSGI application that answers in a thread, for requests that came on an event loop.

What it says is sent when it is all there, or in pieces where it is long; the thread waits until a piece is on its way.
Not a library's bridge, since the front has made the environment already and has read the body: a thread is held by
nobody who is slow to send (docs/decisions/0035-one-loop-in-front.md).
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog

from web.envelope import refusal_body
from web.environ import Send
from web.json import to_json

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = structlog.get_logger()

# What is longer is sent in pieces.
AT_ONCE_BYTES = 256 * 1024
# For a piece to leave, to a client that is slow to take it.
PIECE_SECONDS_MAX = 30.0

Headers = Iterable[tuple[str, str]]


class Behind:
    """A WSGI application and the threads that it answers in."""

    def __init__(self, application: "WSGIApplication", threads: Executor) -> None:
        self._application = application
        self._threads = threads

    async def answer(self, environ: "WSGIEnvironment", send: Send) -> None:
        """Have the application answer. What it lets fall is a 500, unless its answer has begun."""
        loop = asyncio.get_running_loop()
        answer = _Answer(send, loop)
        try:
            await loop.run_in_executor(self._threads, answer.take, self._application, environ)
        except Exception:
            log.exception("front.unanswered", path=environ["PATH_INFO"])
            if answer.has_begun:
                # Cut off: the client must not take it for a whole one.
                raise
            answer.start("500", [("Content-Type", "application/json")])
            answer.pieces = [to_json(refusal_body(500, "INTERNAL_ERROR", "Something went wrong on our side"))]
        await answer.finish()


class _Answer:
    """What an application says, on its way from its thread to the loop."""

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self.has_begun = False
        self.pieces: list[bytes] = []
        self._send = send
        self._loop = loop
        self._head: dict[str, Any] = {}
        self._waiting_bytes = 0

    def take(self, application: "WSGIApplication", environ: "WSGIEnvironment") -> None:
        """Run the application, in this thread."""
        said = application(environ, self.start)
        try:
            for piece in said:
                self._write(piece)
        finally:
            if hasattr(said, "close"):
                said.close()

    def start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        """`start_response` (PEP 3333)."""
        if exc_info and self.has_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        self._head = {
            "type": "http.response.start",
            "status": int(status[:3]),
            "headers": encoded(headers),
        }
        return self._write

    async def finish(self) -> None:
        """Send what is left, which is all of it where it is short."""
        await self._say(more=False)

    def _write(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= AT_ONCE_BYTES:
            asyncio.run_coroutine_threadsafe(self._say(more=True), self._loop).result(PIECE_SECONDS_MAX)

    async def _say(self, *, more: bool) -> None:
        body, self.pieces, self._waiting_bytes = b"".join(self.pieces), [], 0
        if not self.has_begun:
            self.has_begun = True
            await self._send(self._head)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(_encoded_name(name), value.encode("latin-1")) for name, value in headers]


@lru_cache(maxsize=256)
def _encoded_name(name: str) -> bytes:
    return name.lower().encode("latin-1")
