"""One WebSocket as the hub sees it: who it is, what it joined, and a short queue of frames towards it.

A slow client is dropped, never waited for: whoever fills its queue closes it.
"""

import queue
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from simple_websocket import ConnectionClosed, Server

from models.addresses import Address
from models.record import PurchaseRecord
from web.auth import Identity
from web.json import to_json
from web.traces import delivered

log = structlog.get_logger()

# Frames that may wait for one client. Stock is conflated before it gets here, so a full queue means a dead reader.
OUTGOING_MAX = 128
# For one frame of what a client missed.
TAKEN_SECONDS_MAX = 10.0
JOINED_MAX = 50
# RFC 6455, section 7.4.1: the client may not go on like this; the reason says why.
POLICY_VIOLATION = 1008


def frame(name: str, data: dict[str, Any]) -> str:
    """An event as it travels."""
    return to_json({"event": name, "data": data}).decode()


class SocketListener:
    """A client's socket, and the address it came from. `send` never blocks; a thread of its own writes."""

    def __init__(self, connection: Server, address: Address | None = None) -> None:
        self.connection = connection
        self.address = address
        self.identity: Identity | None = None
        # For each joined sale: whether the client has caught up, or must be told again of what came meanwhile.
        self.joined: dict[int, Joined] = {}
        self._outgoing: queue.Queue[str | _Traced | _Close | None] = queue.Queue(OUTGOING_MAX)
        self._is_ending = False
        self._writer = threading.Thread(target=self._write_for_ever, name="socket-writer", daemon=True)
        self._writer.start()

    def send(self, text: str, outcome: PurchaseRecord | None = None) -> None:
        """Queue a frame; a client that is too slow to take it is dropped. `outcome` is what it tells of, if any."""
        if outcome is not None and outcome.trace is not None:
            self._put(_Traced(text, outcome, time.time_ns()))
        else:
            self._put(text)

    def catch_up(self, frames: Iterable[str]) -> None:
        """Queue what a client missed, which may be more than its queue holds, as fast as it takes it.

        For the client's own handler alone, which may wait for it; one that takes nothing is dropped.
        """
        for text in frames:
            try:
                self._outgoing.put(text, timeout=TAKEN_SECONDS_MAX)
            except queue.Full:
                self.drop()
                return

    def send_error(self, code: str, message: str) -> None:
        self.send(frame("error", {"code": code, "message": message}))

    def end(self, code: str, message: str, close_code: int = POLICY_VIOLATION) -> None:
        """Say why, and close behind what waits in the queue. Asked again, a client that did not go is dropped."""
        if self._is_ending:
            self.drop()
            return
        self._is_ending = True
        self.send_error(code, message)
        self._put(_Close(close_code, code))

    def drop(self) -> None:
        """Close the socket under the client's feet, without waiting for anybody."""
        try:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("socket.was_closed")

    def close(self) -> None:
        """End the writer, after the handler is done with this socket."""
        self._put(None)

    def _put(self, what: "str | _Traced | _Close | None") -> None:
        try:
            self._outgoing.put_nowait(what)
        except queue.Full:
            self.drop()

    def _write_for_ever(self) -> None:
        try:
            while (what := self._outgoing.get()) is not None:
                if isinstance(what, _Close):
                    # The client answers with the same, and that ends the conversation.
                    self.connection.close(what.code, what.reason)
                    return
                if isinstance(what, _Traced):
                    self.connection.send(what.text)
                    delivered(what.outcome, what.since_ns, "socket")
                else:
                    self.connection.send(what)
        except (ConnectionClosed, OSError):
            self.drop()


@dataclass(frozen=True, slots=True)
class _Close:
    """The end of a conversation, behind everything that was said before it."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Traced:
    """A frame that tells of a traced outcome, and when it got into the queue."""

    text: str
    outcome: PurchaseRecord
    since_ns: int


class Joined:
    """A listener's place in a sale's room: broadcasts are noted, not sent, until it has caught up."""

    def __init__(self) -> None:
        self.ready = False
        self.behind = False
