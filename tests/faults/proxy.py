"""A TCP line between one process and one server, which can be cut, slowed down, or made to swallow everything.

All lines of a rig live on one thread with a loop of its own, so that a fault never holds up those who look at it.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from ops.ports import LOOPBACK, free_port

CALL_SECONDS_MAX = 10
CHUNK_BYTES = 65_536


class Line:
    """Listens on `port` and passes everything on to the server's own port, both ways and in order.

    While it is `held`, nothing gets through and nothing is lost: what was sent arrives when the line is whole again, as
    with a network that drops packets and a kernel that sends them anew.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream_port: int) -> None:
        self.port = free_port()
        self._loop = loop
        self._upstream_port = upstream_port
        self._open = asyncio.Event()
        self._open.set()
        self._delay_seconds = 0.0
        self._refuses = False
        self._transports: set[asyncio.Transport] = set()
        self._ports_out: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def ports_out(self) -> frozenset[int]:
        """The ports from which this line is connected to the server: how the server knows the process behind it."""
        return frozenset(self._ports_out)

    def cut(self) -> None:
        """Reset every connection; new ones get through."""
        self._call(self._cut)

    def refuse(self) -> None:
        """Reset every connection, and every new one, until `mend`."""
        self._call(self._refuse)

    def delay(self, seconds: float) -> None:
        """Let whatever is sent wait for so many seconds, each way, until `mend`."""
        self._call(lambda: setattr(self, "_delay_seconds", seconds))

    def hold(self) -> None:
        """Swallow everything, new connections too, until `mend`."""
        self._call(self._open.clear)

    def mend(self) -> None:
        self._call(self._mend)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _call(self, change: Callable[[], object]) -> None:
        async def on_the_loop() -> None:
            change()

        asyncio.run_coroutine_threadsafe(on_the_loop(), self._loop).result(CALL_SECONDS_MAX)

    def _cut(self) -> None:
        for transport in self._transports:
            transport.abort()

    def _refuse(self) -> None:
        self._refuses = True
        self._cut()

    def _mend(self) -> None:
        self._refuses = False
        self._delay_seconds = 0.0
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._transports.add(writer.transport)
        try:
            with suppress(OSError):
                await self._connect(reader, writer)
        finally:
            self._transports.discard(writer.transport)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        if self._refuses:
            return
        upstream, up_writer = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        port_out = int(up_writer.get_extra_info("sockname")[1])
        self._transports.add(up_writer.transport)
        self._ports_out.add(port_out)
        try:
            ways = (self._pass_on(reader, up_writer), self._pass_on(upstream, writer))
            _, pending = await asyncio.wait(
                [asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED
            )
            for way in pending:
                way.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        finally:
            self._ports_out.discard(port_out)
            self._transports.discard(up_writer.transport)
            up_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                await self._open.wait()
                writer.write(data)
                await writer.drain()


class Lines:
    """The thread on which the lines of a rig live."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lines", daemon=True)
        self._thread.start()
        self._lines: list[Line] = []

    def to(self, upstream_port: int) -> Line:
        """A new line to a server on this machine."""
        line = Line(self._loop, upstream_port)
        self._run(line.open())
        self._lines.append(line)
        return line

    def close(self) -> None:
        for line in self._lines:
            self._run(line.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS_MAX)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS_MAX)
