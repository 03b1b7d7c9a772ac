"""The front: what web's server speaks to. One event loop a process, on which whoever waits holds nothing but a place.

In a rush nearly every request waits: for Redis's disk, and then for its outcome. A thread each for that costs more than
all that is said: the threads of one process take turns at one interpreter. Here the daily requests (web/doorstep.py)
wait on the loop, share their trips to Redis, and are answered there. Everything else is Flask's, which answers in one
of WEB_THREADS threads (web/behind.py). docs/decisions/0035-one-loop-in-front.md has the figures.
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
from web.behind import Behind, encoded
from web.deadlines import Deadlines
from web.doorstep import DOORSTEP, Answer, answer_at_doorstep, headers_of
from web.envelope import refusal_body
from web.environ import BODY_SECONDS_MAX, NeverCame, Receive, Scope, Send, environ_of, read_body
from web.errors import HTTP_ERRORS
from web.forwarded import believe_proxy
from web.json import to_json
from web.readiness import get_ready

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

log = structlog.get_logger()


class Front:
    """An ASGI application around a Flask application of ours."""

    def __init__(self, app: Flask) -> None:
        doorstep = app.extensions.get(DOORSTEP)
        self._has_doorstep = doorstep is not None
        self._flask = doorstep.flask if doorstep else app.wsgi_app
        self._bytes_max = settings().request_bytes_max
        self._threads: ThreadPoolExecutor
        self._trips: LoopTrips
        self._behind: Behind
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
            answer = _unreadable()
        if answer is None:
            await self._behind.answer(environ, send)
            return
        headers = encoded(headers_of(environ, answer))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer_of_doorstep(self, environ: "WSGIEnvironment") -> Answer | None:
        if not self._has_doorstep or isinstance(environ["wsgi.input"], NeverCame):
            return None
        return await answer_at_doorstep(environ, self._trips)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Begin before the first request and end after the last (ASGI's lifespan protocol)."""
        await receive()
        self._threads = ThreadPoolExecutor(settings().web_threads, thread_name_prefix="request")
        self._trips = LoopTrips(self._threads)
        self._behind = Behind(self._flask, self._threads)
        self._deadlines = Deadlines(BODY_SECONDS_MAX)
        await self._trips.aside(get_ready)
        with suppress(RedisError):
            await self._trips.call(("PING",), key="")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._trips.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})


def _unreadable() -> Answer:
    """To whoever left before their body had come, or sent one whose chunks are none: granian does not say which."""
    code, message = HTTP_ERRORS[400]
    metrics.answered(400)
    return Answer(400, to_json(refusal_body(400, code, message)), request_name(), {"Connection": "close"})
