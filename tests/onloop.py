"""A front on an event loop like web's, in a thread of its own, asked with what a WSGI environment says."""

import asyncio
import threading

import uvloop

from web.front import Front

PATIENCE_SECONDS = 60
BARE = {"CONTENT_TYPE", "CONTENT_LENGTH"}


class OnLoop:
    """An ASGI application that lives as long as the `with` block."""

    def __init__(self, app):
        self._app = app
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop")

    def __enter__(self):
        self._thread.start()
        self.run(self._begin())
        return self

    def __exit__(self, *_):
        self.run(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self.loop.close()

    def run(self, steps):
        return asyncio.run_coroutine_threadsafe(steps, self.loop).result(PATIENCE_SECONDS)

    def ask(self, scope, *messages):
        """What is sent back: status, headers and body."""
        return self.begin(scope, *messages).result(PATIENCE_SECONDS)

    def begin(self, scope, *messages):
        """Ask, and wait for nothing: what is sent back is the future's result."""
        return asyncio.run_coroutine_threadsafe(self._ask(scope, list(messages)), self.loop)

    async def _ask(self, scope, messages):
        sent = []

        async def receive():
            if messages:
                return messages.pop(0)
            return await asyncio.get_running_loop().create_future()

        async def send(message):
            sent.append(message)

        await self.front(scope, receive, send)
        return sent

    async def _begin(self):
        self.front = Front(self._app)
        self._told, ready = asyncio.Queue(), asyncio.Event()
        self._told.put_nowait({"type": "lifespan.startup"})

        async def send(message):
            ready.set()

        self._life = asyncio.create_task(self.front({"type": "lifespan"}, self._told.get, send))
        await ready.wait()

    async def _end(self):
        self._told.put_nowait({"type": "lifespan.shutdown"})
        await self._life


def scope_of(environ):
    """What a server says of a request in ASGI's words."""
    headers = [
        (name.removeprefix("HTTP_").replace("_", "-").lower().encode(), value.encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in BARE
    ]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "surrogateescape"),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "headers": headers,
        "client": (environ["REMOTE_ADDR"], 1234),
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
    }


def body_message(body, *, more=False):
    return {"type": "http.request", "body": body, "more_body": more}
