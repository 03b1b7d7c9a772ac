"""The front: what web's server speaks to. One event loop a process, on which whoever waits holds nothing but a place.

In a rush nearly every request waits: for Redis's disk, and then for its outcome. A thread each for that costs more than
all that is said: the threads of one process take turns at one interpreter. Here the daily requests (web/doorstep.py)
wait on the loop, share their trips to Redis, and are answered there. Everything else is Flask's, which answers in one
of WEB_THREADS threads (web/behind.py). Where PostgreSQL says nothing, all of these wait for it: then those who come for
units go on, since their trips take no such thread, and so does `/healthz`, which has one of its own.
docs/decisions/0035-one-loop-in-front.md has the figures.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from flask import Flask
from redis.exceptions import RedisError

from models import metrics
from models.looptrips import LoopTrips
from models.names import request_name
from models.settings import settings
from web.behind import Behind, NoThreadError, encoded
from web.deadlines import Deadlines
from web.doorstep import DOORSTEP, Answer, answer_at_doorstep, headers_of
from web.envelope import refusal_body
from web.environ import BODY_SECONDS_MAX, NeverCame, Receive, Scope, Send, environ_of, read_body
from web.errors import HTTP_ERRORS
from web.forwarded import believe_proxy
from web.health import ALIVE
from web.json import to_json
from web.readiness import get_ready

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

log = structlog.get_logger()

# Threads that all wait are not free again in a second.
RETRY_LATER = {"Retry-After": "5"}


class Front:
    """An ASGI application around a Flask application of ours."""

    def __init__(self, app: Flask) -> None:
        doorstep = app.extensions.get(DOORSTEP)
        self._has_doorstep = doorstep is not None
        self._flask = doorstep.flask if doorstep else app.wsgi_app
        self._bytes_max = settings().request_bytes_max
        # For trips that must wait: bounded each by its time-out, and never behind a page.
        self._threads: ThreadPoolExecutor
        self._trips: LoopTrips
        self._behind: Behind
        self._pulse: Behind
        self._deadlines: Deadlines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        environ = environ_of(scope)
        believe_proxy(environ)
        if await read_body(environ, receive, self._bytes_max, self._deadlines):
            answer = await self._answer_of_doorstep(environ)
        else:
            # granian does not say which: a client who has left, or a body whose chunks are none.
            answer = _refusal(400, *HTTP_ERRORS[400], {"Connection": "close"})
        if answer is None:
            await self._answer_behind(environ, send)
        else:
            await _say(environ, answer, send)

    async def _answer_behind(self, environ: "WSGIEnvironment", send: Send) -> None:
        behind = self._pulse if environ["PATH_INFO"] == ALIVE else self._behind
        try:
            await behind.answer(environ, send)
        except NoThreadError:
            log.warning("front.no_thread", path=environ["PATH_INFO"])
            refusal = _refusal(503, "BUSY", "Too many wait for an answer; try again", RETRY_LATER)
            await _say(environ, refusal, send)

    async def _answer_of_doorstep(self, environ: "WSGIEnvironment") -> Answer | None:
        if not self._has_doorstep or isinstance(environ["wsgi.input"], NeverCame):
            return None
        return await answer_at_doorstep(environ, self._trips)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Begin before the first request and end after the last (ASGI's lifespan protocol)."""
        await receive()
        threads = settings().web_threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="trip")
        self._trips = LoopTrips(self._threads)
        self._behind = Behind(self._flask, threads, "request")
        self._pulse = Behind(self._flask, 1, "pulse")
        self._deadlines = Deadlines(BODY_SECONDS_MAX)
        await self._trips.aside(get_ready)
        with suppress(RedisError):
            await self._trips.call(("PING",), key="")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._trips.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._behind.close()
        self._pulse.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _say(environ: "WSGIEnvironment", answer: Answer, send: Send) -> None:
    headers = encoded(headers_of(environ, answer))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _refusal(status: int, code: str, message: str, headers: dict[str, str]) -> Answer:
    """What the front itself refuses."""
    metrics.answered(status)
    return Answer(status, to_json(refusal_body(status, code, message)), request_name(), headers)
