"""The shop as its clients reach it: one request, and an answer or a trouble."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from yarl import URL

ANSWER_SECONDS_MAX = 15.0


class TroubleError(Exception):
    """No answer came, or none that can be read; its text is the kind of trouble, the same for all of one kind."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came over the wire. `retry_after_seconds` is there where the shop says when to come back."""

    status: int
    body: Mapping[str, Any]
    retry_after_seconds: float | None

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's successes

    @property
    def code(self) -> str:
        """The refusal's stable code, or one made of the status where the answer is not the API's own."""
        return str(self.body.get("code") or f"HTTP_{self.status}")

    @property
    def data(self) -> Mapping[str, Any]:
        data = self.body.get("data")
        return data if isinstance(data, dict) else {}


class Shop:
    """A bounded number of connections to the web processes, shared by everybody in the crowd."""

    def __init__(self, base_url: str, *, connections: int) -> None:
        self._base_url = base_url
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # What a generator on the same two cores need not do, it does not: cookies, compression, default headers.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        body: bytes | None = None,
        idempotency_key: str = "",
        seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> Answer:
        """Send one request and read its answer; raises TroubleError after `seconds_max` or when the line breaks."""
        if self._session is None:
            raise RuntimeError("use `async with Shop(...)`")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        try:
            async with self._session.request(
                method,
                URL(self._base_url + path, encoded=True),
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds_max),
            ) as response:
                text = await response.read()
                retry_after = _seconds(response.headers.get("Retry-After"))
                return Answer(response.status, _object(text), retry_after)
        except TimeoutError as why:
            raise TroubleError("TIMEOUT") from why
        except (aiohttp.ClientError, OSError) as why:
            raise TroubleError("CONNECTION") from why


def _object(text: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer; empty where it is something else, such as a proxy's page."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(header: str | None) -> float | None:
    """Retry-After in its form of whole seconds (RFC 9110, section 10.2.3), which is the one that the shop uses."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else None
