"""The WebSocket: `/ws`, and `/` for old clients. Frames are `{"event": …, "data": …}` in JSON.

Served by the live process (gunicorn with gevent): flask-sock takes the server's own socket, which web's front has not.
"""

import time
from typing import Any

import orjson
import structlog
from flask import Flask, request
from flask_sock import Sock
from redis.exceptions import RedisError
from simple_websocket import ConnectionClosed, Server
from sqlalchemy.exc import SQLAlchemyError

from models.addresses import parse_address
from models.errors import DomainError
from web.auth import Identity, identity_of_token, redeem_ticket
from web.fields import read_any_id
from web.hub import hub
from web.joining import join_sale
from web.limits import client_address
from web.listener import JOINED_MAX, SocketListener, frame
from web.rounds import rounds
from web.socket_bounds import bound
from web.unauthorized import UnauthorizedError

log = structlog.get_logger()

FRAME_BYTES_MAX = 4_096
PING_SECONDS = 25
# Whoever sends faster than this for long is not a buyer.
FRAMES_PER_SECOND = 20
FRAMES_BURST = 100
# A bound for the wait, and no more: what has to be seen to in time, web/rounds.py sees to.
IDLE_SECONDS = 60
SEQ_MAX = 2**62
UNAUTHORIZED_ACCESS = "Unauthorized access"

sock = Sock()


def init_sockets(app: Flask) -> None:
    """Serve the WebSocket from this app."""
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": PING_SECONDS, "max_message_size": FRAME_BYTES_MAX}
    sock.init_app(app)


@sock.route("/ws")
def ws(connection: Server) -> None:
    """Anyone may watch a sale; who they are decides whose purchases they hear of."""
    Session(connection, is_old=False).run()


@sock.route("/")
def ws_at_the_root(connection: Server) -> None:
    """As old clients know it: a token in the handshake, or in an `authenticate` frame, before anything else."""
    Session(connection, is_old=True).run()


class RefusedFrameError(Exception):
    """A frame that cannot be obeyed: a code and a message for the `error` event."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Session:
    """One client's conversation. An old client says who it is before anything else, and reads no sale's state."""

    def __init__(self, connection: Server, *, is_old: bool) -> None:
        self._connection = connection
        self._is_old = is_old
        bound(connection)
        self._listener = SocketListener(connection, parse_address(client_address()))
        self._allowance = float(FRAMES_BURST)
        self._counted_at = time.monotonic()

    def run(self) -> None:
        """Talk until the client is gone."""
        rounds().add(self._listener)
        try:
            self._shake_hands()
            while True:
                text = self._connection.receive(timeout=IDLE_SECONDS)
                if text is not None:
                    self._count_frame()
                    self._obey(text)
        except (ConnectionClosed, OSError):
            pass
        finally:
            rounds().remove(self._listener)
            hub().remove(self._listener)
            self._listener.close()

    def _shake_hands(self) -> None:
        ticket = request.args.get("ticket")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if ticket:
                self._identify(redeem_ticket(ticket))
            elif scheme.lower() == "bearer":
                self._identify(identity_of_token(token.strip()))
        except (DomainError, RedisError) as error:
            self._refuse(error)

    def _obey(self, text: str | bytes) -> None:
        try:
            name, data = _parse(text)
            if name == "authenticate":
                self._identify(identity_of_token(_text(data, "token")))
                self._listener.send(frame("authenticated", {"userId": str(self._user_id())}))
            elif name == "joinFlashSale":
                self._join(_sale_id(data), _since(data))
            elif name == "leaveFlashSale":
                hub().leave(self._listener, _sale_id(data))
            else:
                self._listener.send_error("UNKNOWN_EVENT", f"Unknown event {name[:40]!r}")
        except RefusedFrameError as refusal:
            self._listener.send_error(refusal.code, refusal.message)
        except (DomainError, RedisError, SQLAlchemyError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        code, message = _explain(error)
        if self._is_old and code == "UNAUTHORIZED":
            # They know these words alone (reference 001, step 7.4).
            message = UNAUTHORIZED_ACCESS
        self._listener.send_error(code, message)

    def _identify(self, identity: Identity) -> None:
        hub().identify(self._listener, identity)

    def _user_id(self) -> int | None:
        return self._listener.identity.user_id if self._listener.identity else None

    def _join(self, sale_id: int, since: int | None) -> None:
        if self._is_old and self._listener.identity is None:
            raise RefusedFrameError("UNAUTHORIZED", UNAUTHORIZED_ACCESS)
        if sale_id not in self._listener.joined and len(self._listener.joined) >= JOINED_MAX:
            raise RefusedFrameError("TOO_MANY_SALES", f"At most {JOINED_MAX} sales at a time")
        join_sale(self._listener, sale_id, since, knows_state=not self._is_old)

    def _count_frame(self) -> None:
        moment = time.monotonic()
        earned = (moment - self._counted_at) * FRAMES_PER_SECOND
        self._allowance = min(FRAMES_BURST, self._allowance + earned) - 1
        self._counted_at = moment
        if self._allowance < 0:
            self._connection.close(1008, "Too many frames")
            raise ConnectionClosed(1008, "Too many frames")


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, UnauthorizedError):
        return "UNAUTHORIZED", error.why
    if isinstance(error, DomainError):
        return error.code, error.message
    log.warning("socket.unavailable", error=type(error).__name__)
    return "UNAVAILABLE", "Temporarily unavailable"


def _parse(text: str | bytes) -> tuple[str, dict[str, Any]]:
    if isinstance(text, bytes):
        raise RefusedFrameError("BAD_FRAME", "Frames are JSON text")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RefusedFrameError("BAD_FRAME", "Frames are JSON text") from None
    if not isinstance(message, dict) or not isinstance(message.get("event"), str):
        raise RefusedFrameError("BAD_FRAME", 'Frames are {"event": …, "data": …}')
    data = message.get("data", {})
    if not isinstance(data, dict):
        raise RefusedFrameError("BAD_FRAME", "data must be an object")
    return message["event"], data


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise RefusedFrameError("BAD_FRAME", f"{name} must be text")
    return value


def _sale_id(data: dict[str, Any]) -> int:
    try:
        return read_any_id(data.get("flashSaleId"))
    except ValueError:
        raise RefusedFrameError("BAD_FRAME", "flashSaleId must be the id of a sale") from None


def _since(data: dict[str, Any]) -> int | None:
    value = data.get("since")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < SEQ_MAX:
        raise RefusedFrameError("BAD_FRAME", "since must be the seq of an event")
    return value
