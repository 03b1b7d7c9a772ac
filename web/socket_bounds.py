"""What one client's socket may cost, where simple-websocket sets no bound."""

import socket
import threading
from typing import Any

from flask import Flask, request
from flask.wrappers import Response
from simple_websocket import Server
from wsproto.utilities import RemoteProtocolError

from web.envelope import fail

VERSION = "13"
# Where a server that lets go of its sockets has this one (simple_websocket/ws.py).
SOCKETS_IN = frozenset({"gunicorn.socket", "werkzeug.socket"})

# Frames that came and were not looked at yet; of FRAME_BYTES_MAX each, at most.
WAITING_MAX = 512
# A client that takes nothing for so long is gone, whatever its system says to ours.
UNREAD_SECONDS_MAX = 20


def init_socket_bounds(app: Flask) -> None:
    """Agree to no compression: it costs each socket a quarter of a megabyte for frames of two hundred bytes, and lets
    four kilobytes become four megabytes."""

    @app.before_request
    def refuse_extensions() -> Response | None:
        request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        if getattr(request.url_rule, "websocket", False) and not (SOCKETS_IN & request.environ.keys()):
            return _send_elsewhere()
        return None

    app.register_error_handler(RemoteProtocolError, _refuse_handshake)


def _send_elsewhere() -> Response:
    """To whoever asks web for a WebSocket: it has none (RFC 9110, section 15.5.20)."""
    message = "WebSockets are not served here but by the live process: at LIVE_URL, or on LIVE_PORT"
    return fail(421, "NO_WEBSOCKETS_HERE", message, headers={"Connection": "close"})


def _refuse_handshake(_error: RemoteProtocolError) -> Response:
    """A handshake that is none: 400, or 426 with the version that we speak (RFC 6455, section 4.4)."""
    headers = {"Sec-WebSocket-Version": VERSION, "Connection": "close"}
    status = 400 if request.headers.get("Sec-WebSocket-Version") == VERSION else 426
    return fail(status, "BAD_HANDSHAKE", "This is no handshake of a WebSocket", headers=headers)


def bound(connection: Server) -> None:
    """Hold this connection to what is said here."""
    # Linux alone has it: elsewhere the queue of SocketListener and the pings have to do.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS_MAX * 1000)
    connection.sock = WholeSocket(connection.sock)
    connection.input_buffer = Inbox(connection.input_buffer)


class Inbox(list[Any]):
    """Frames in order of arrival; whoever sends them faster than they can be looked at is hung up on."""

    def append(self, what: Any) -> None:
        if len(self) >= WAITING_MAX:
            # What the reading thread takes for the end of the connection, and makes it the end.
            raise ConnectionResetError("frames came faster than they could be looked at")
        super().append(what)


class WholeSocket:
    """A socket that sends a frame whole, one at a time: a `send` of gevent's takes what the buffer has room for, and
    simple-websocket never asks how much that was."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()

    def send(self, data: bytes) -> int:
        with self._sending:
            self._sock.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
