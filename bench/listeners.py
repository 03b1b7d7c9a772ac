"""Thousands of WebSockets in one process, with as little work a frame as there can be.

A frame costs aiohttp's client several times what it costs the server to send it, and the two share the cores: with that
client the figure would be the client's. This one reads what a server sends (RFC 6455, section 5.2) and nothing else.
"""

import asyncio
import base64
import os
import struct
import time
from typing import cast
from urllib.parse import urlsplit

import orjson

from ops.errors import OpsError

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
FINAL, MASKED = 0x80, 0x80
# Lengths that do not fit into seven bits are written in the next two bytes, or eight.
TWO_BYTES, EIGHT_BYTES = 126, 127
STOCK = b'"availableUnits":'
CONNECT_SECONDS_MAX = 30


class Listener(asyncio.Protocol):
    """One socket: remembers the last stock that it heard of, and when it first heard of each that is asked about."""

    def __init__(self, host: str, path: str, sale_id: int) -> None:
        self._hello = (host, path)
        self._sale_id = sale_id
        self._rest = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard: list[tuple[int, float]] = []  # stock, and the moment (time.monotonic())
        self.ended = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one by what it does, not by its class.
        self._transport = cast(asyncio.Transport, transport)
        host, path = self._hello
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        transport.write("\r\n".join((*lines, "", "")).encode())

    def data_received(self, data: bytes) -> None:
        moment = time.monotonic()
        data = self._rest + data
        if not self._is_open:
            head, blank, data = data.partition(b"\r\n\r\n")
            if not blank:
                self._rest = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._end(head.splitlines()[0].decode(errors="replace"))
                return
            self._is_open = True
            join = {"event": "joinFlashSale", "data": {"flashSaleId": str(self._sale_id)}}
            self._send(TEXT, orjson.dumps(join))
        self._rest = self._read(data, moment)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the connection ended")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _read(self, data: bytes, moment: float) -> bytes:
        """Obey all whole frames; returns what is left over."""
        at = 0
        while len(data) - at >= 2:  # noqa: PLR2004 - the shortest header
            kind, length, start = data[at] & 0x0F, data[at + 1] & 0x7F, at + 2
            if length == TWO_BYTES:
                length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif length == EIGHT_BYTES:
                length, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            if start + length > len(data):
                break
            self._obey(kind, data[start : start + length], moment)
            at = start + length
        return data[at:]

    def _obey(self, kind: int, content: bytes, moment: float) -> None:
        if kind == TEXT:
            found = content.find(STOCK)
            if found >= 0:
                number = content[found + len(STOCK) :]
                digits = number[: len(number) - len(number.lstrip(b"0123456789"))]
                self.heard.append((int(digits), moment))
                if not self.joined.done():
                    self.joined.set_result(None)
            elif content.startswith(b'{"event":"error"'):
                self._end(content.decode())
        elif kind == PING:
            self._send(PONG, content)
        elif kind == CLOSE:
            self._end("the server closed")

    def _send(self, kind: int, content: bytes) -> None:
        """A client's frames are masked; a mask of zeros leaves them as they are."""
        length = len(content)
        size = (
            struct.pack("!B", MASKED | length) if length < TWO_BYTES else struct.pack("!BH", MASKED | TWO_BYTES, length)
        )
        if self._transport is not None:
            self._transport.write(bytes([FINAL | kind]) + size + bytes(4) + content)

    def _end(self, why: str) -> None:
        self.ended = self.ended or why
        if not self.joined.done():
            self.joined.set_exception(OpsError(f"a socket ended: {why}"))


async def join_many(url: str, sale_id: int, count: int, *, at_once: int = 50) -> list[Listener]:
    """So many sockets that have joined the sale and heard its stock; raises OpsError where one does not."""
    parts = urlsplit(url)
    turn = asyncio.Semaphore(at_once)
    loop = asyncio.get_running_loop()

    async def one() -> Listener:
        async with turn, asyncio.timeout(CONNECT_SECONDS_MAX):
            _, listener = await loop.create_connection(
                lambda: Listener(parts.netloc, parts.path, sale_id), parts.hostname, parts.port
            )
            await listener.joined
            return listener

    try:
        return list(await asyncio.gather(*(one() for _ in range(count))))
    except TimeoutError as why:
        raise OpsError(f"a socket did not join within {CONNECT_SECONDS_MAX} s") from why
