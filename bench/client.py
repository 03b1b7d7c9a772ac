"""One patient client on one connection: the cheapest way to time a request without measuring the client."""

import http.client
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from ops.errors import OpsError

ANSWER_SECONDS_MAX = 20


@dataclass(frozen=True, slots=True)
class Timed:
    """An answer, and the seconds from the first byte sent to the last one read."""

    status: int
    body: dict[str, Any]
    seconds: float


class Client:
    """A keep-alive connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None, *, expected: int, **headers: str) -> Timed:
        """Send a request and time its answer. Header names are written with `_` for `-`.

        Raises OpsError when the answer is not the expected one: what is timed must be what was meant.
        """
        text = None if body is None else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if text is not None:
            named["Content-Type"] = "application/json"
        started = time.perf_counter()
        self._connection.request(method, path, text, named)
        response = self._connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - started
        if response.status != expected:
            raise OpsError(f"{method} {path} answered {response.status}, not {expected}: {content[:200]!r}")
        return Timed(response.status, orjson.loads(content), seconds)
