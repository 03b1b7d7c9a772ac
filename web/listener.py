"""One WebSocket as the hub sees it: who it is, what it joined, and a short queue of frames towards it.

A slow client is dropped, never waited for: whoever fills its queue closes it.
"""

import queue
import socket
import threading
from collections.abc import Iterable
from typing import Any

import structlog
from simple_websocket import ConnectionClosed, Server

from models.events import SaleEvent
from web.auth import Identity
from web.json import to_json

log = structlog.get_logger()

# Frames that may wait for one client. Stock is conflated before it gets here, so a full queue means a dead reader.
OUTGOING_MAX = 128
JOINED_MAX = 50


def frame(name: str, data: dict[str, Any]) -> str:
    """An event as it travels."""
    return to_json({"event": name, "data": data}).decode()


class SocketListener:
    """A client's socket. `send` never blocks; a thread of its own writes."""

    def __init__(self, connection: Server) -> None:
        self.connection = connection
        self.identity: Identity | None = None
        # For each joined sale: whether the client has caught up, or must be told again of what came meanwhile.
        self.joined: dict[int, Joined] = {}
        self._outgoing: queue.Queue[str | None] = queue.Queue(OUTGOING_MAX)
        self._writer = threading.Thread(target=self._write_for_ever, name="socket-writer", daemon=True)
        self._writer.start()

    def send(self, text: str) -> None:
        """Queue a frame; a client that is too slow to take it is dropped."""
        try:
            self._outgoing.put_nowait(text)
        except queue.Full:
            self.drop()

    def send_event(self, event: SaleEvent) -> None:
        self.send(frame(event.name, event.data))

    def send_events(self, events: Iterable[SaleEvent]) -> None:
        for event in events:
            self.send_event(event)

    def send_error(self, code: str, message: str) -> None:
        self.send(frame("error", {"code": code, "message": message}))

    def drop(self) -> None:
        """Close the socket under the client's feet, without waiting for anybody."""
        try:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("socket.was_closed")

    def close(self) -> None:
        """End the writer, after the handler is done with this socket."""
        try:
            self._outgoing.put_nowait(None)
        except queue.Full:
            self.drop()

    def _write_for_ever(self) -> None:
        try:
            while (text := self._outgoing.get()) is not None:
                self.connection.send(text)
        except (ConnectionClosed, OSError):
            self.drop()


class Joined:
    """A listener's place in a sale's room: broadcasts are noted, not sent, until it has caught up."""

    def __init__(self) -> None:
        self.ready = False
        self.behind = False
