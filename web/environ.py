"""A request as ASGI tells it, written as the environment that WSGI applications read (PEP 3333).

https://asgi.readthedocs.io/en/latest/specs/www.html is what comes in; what goes out is what granian would have said.
"""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from functools import lru_cache
from io import BytesIO, RawIOBase
from typing import TYPE_CHECKING, Any, NoReturn

from werkzeug.exceptions import RequestTimeout

from web.deadlines import Deadlines

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# RFC 9110, section 8.6; whatever has more digits is longer than anything that is let in.
LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
# As long as the proxy waits for one (ops/proxy/nginx.conf).
BODY_SECONDS_MAX = 10.0
# Headers that have their own names in the environment, without HTTP_ before them.
BARE_NAMES = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
ALWAYS = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


class NeverCame(RawIOBase):
    """The body of a request that was announced and did not come in time. Whoever wants to read it answers 408."""

    def readable(self) -> bool:
        return True

    def read(self, _size: int = -1) -> NoReturn:
        raise RequestTimeout("The body did not come in time")

    def readinto(self, _buffer: Any) -> NoReturn:
        self.read()


def environ_of(scope: Scope) -> "WSGIEnvironment":
    """The environment of a request, without its body."""
    environ: WSGIEnvironment = dict(ALWAYS)
    environ["REQUEST_METHOD"] = scope["method"]
    environ["PATH_INFO"] = _latin(scope["path"])
    environ["QUERY_STRING"] = scope["query_string"].decode("latin-1")
    environ["SERVER_PROTOCOL"] = f"HTTP/{scope['http_version']}"
    environ["wsgi.url_scheme"] = scope["scheme"]
    environ["SERVER_NAME"], port = scope.get("server") or ("", "")
    environ["SERVER_PORT"] = str(port)
    environ["REMOTE_ADDR"], _ = scope.get("client") or ("", 0)
    for name, value in scope["headers"]:
        key = _key_of(name)
        if key is not None:
            text = value.decode("latin-1")
            environ[key] = text if key not in environ else _joined(key, environ[key], text)
    return environ


async def read_body(environ: "WSGIEnvironment", receive: Receive, bytes_max: int, deadlines: Deadlines) -> bool:
    """Put the whole body into the environment; False if the client left meanwhile, or sent what is none.

    While it comes, nobody is held up. What is longer than `bytes_max` is not read any further: the application refuses
    it. What does not come in BODY_SECONDS_MAX is a stream that says so.
    """
    length = environ.get("CONTENT_LENGTH")
    environ["wsgi.input"] = BytesIO()
    if length is None:
        if "HTTP_TRANSFER_ENCODING" not in environ:
            return True
        # In chunks: it ends where its stream does.
        environ["wsgi.input_terminated"] = True
    if length is not None and (not LENGTH.fullmatch(length) or int(length) > bytes_max):
        return True
    watched = deadlines.begin()
    try:
        body = await _all_of(receive, bytes_max)
    except asyncio.CancelledError:
        if not deadlines.end(watched):
            raise
        environ["wsgi.input"] = NeverCame()
        return True
    finally:
        # Also where the server lets something else fall: what is not ended is remembered for ever.
        deadlines.end(watched)
    if body is None:
        return False
    environ["wsgi.input"] = BytesIO(body)
    return True


async def _all_of(receive: Receive, bytes_max: int) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        piece: bytes = message.get("body", b"")
        body += piece
        if not message.get("more_body") or len(body) > bytes_max:
            return body


def _latin(text: str) -> str:
    """Text as WSGI has it: the bytes of its UTF-8, one character each."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


@lru_cache(maxsize=512)
def _key_of(name: bytes) -> str | None:
    """A header's name in the environment; None for one that could pass there for another one (X_Forwarded_For)."""
    if b"_" in name:
        return None
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in BARE_NAMES else f"HTTP_{key}"


def _joined(key: str, before: str, text: str) -> str:
    """A header that came more than once (RFC 9110, section 5.3; cookies: RFC 6265, section 5.4)."""
    return f"{before}; {text}" if key == "HTTP_COOKIE" else f"{before},{text}"
