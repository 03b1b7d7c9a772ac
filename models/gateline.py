"""The way to Redis for the gate's one script: redis-py's connections, without what its client does around a command.

The client's look-ups, hooks and retries cost as much as the gate's whole trip to Redis, and the gate must not be tried
again anyway: docs/decisions/0018-the-short-way-through-the-door.md has the figures.
"""

import hashlib
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from models.errors import UnavailableError
from models.once import once
from models.redisclient import gate_client
from models.runtime import on_gevent
from models.settings import settings

log = structlog.get_logger()

# redis-py's own, of whatever kind its URL asks for; it comes without types.
Connection = Any

# Far above the threads of a web process; the greenlets of a live one wait for their turn.
CONNECTIONS_MAX = 128
# A connection that was used this lately is used again without a look at it.
TRUSTED_SECONDS = 0.5


class GateLines:
    """Connections of this process, each lent to one caller at a time; the one used last is lent first."""

    def __init__(self, client: Redis) -> None:
        self._make = client.connection_pool.make_connection
        self._idle: deque[tuple[Connection, float]] = deque()
        self._turns = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._patience_seconds = settings().redis_timeout_seconds

    def call(self, command: Iterable[str | int]) -> Any:
        """Send a command and return its answer; never sent twice.

        Raises redis errors. After any of them but an answer the connection is closed: what is still on its way on it
        belongs to nobody.
        """
        if not self._turns.acquire(timeout=self._patience_seconds):
            raise RedisConnectionError("no connection is free")
        try:
            connection = self._take()
            try:
                connection.send_command(*command, check_health=False)
                answer = connection.read_response()
            except ResponseError:
                self._give_back(connection)
                raise
            except BaseException:
                connection.disconnect()
                raise
            self._give_back(connection)
            return answer
        finally:
            self._turns.release()

    def _take(self) -> Connection:
        """A connection that is open. One that Redis closed while it lay idle is replaced."""
        while self._idle:
            try:
                connection, idle_since = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - idle_since < TRUSTED_SECONDS:
                return connection
            if _is_open(connection):
                _wait_in_kernel(connection)
                return connection
            connection.disconnect()
        made: Connection = self._make()
        made.connect()
        _wait_in_kernel(made)
        return made

    def _give_back(self, connection: Connection) -> None:
        self._idle.append((connection, time.monotonic()))

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].disconnect()


def _is_open(connection: Connection) -> bool:
    """Whether an idle connection says nothing, as it should: not even that it was closed."""
    try:
        return not connection.can_read(timeout=0)
    except RedisConnectionError:
        return False


def _wait_in_kernel(connection: Connection) -> None:
    """Have the kernel bound the waits of this connection's socket.

    Python's own timeouts put a poll, and one more turn of the interpreter's lock, before every send and every receive.
    A wait that the kernel ends is a connection error to redis-py. gevent waits in its own way, and so does TLS.
    """
    sock = connection._get_socket()  # noqa: SLF001 - redis-py has no other way to it
    if on_gevent() or isinstance(sock, ssl.SSLSocket):
        return
    seconds = settings().redis_timeout_seconds
    bound = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
    sock.settimeout(None)


@once
def gate_lines() -> GateLines:
    return GateLines(gate_client())


class GateBrokenError(UnavailableError):
    """The script stumbled: something that is not ours lies in the place of a key. Nobody was admitted."""

    message = "The sale cannot be read at this moment; try again"


class GateScript:
    """A Lua script, called by its hash."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: list[str], arguments: list[str | int]) -> list[Any]:
        """The script's answer.

        Raises redis errors where Redis is away, full or a replica, and GateBrokenError where the script fails.
        """
        command = ("EVALSHA", self._hash, len(keys), *keys, *arguments)
        try:
            try:
                return gate_lines().call(command)  # type: ignore[no-any-return]
            except NoScriptError:
                # It did not run, so it may be sent again.
                gate_lines().call(("SCRIPT", "LOAD", self._text))
                return gate_lines().call(command)  # type: ignore[no-any-return]
        except (OutOfMemoryError, ReadOnlyError, RedisConnectionError):
            raise
        except ResponseError as error:
            log.warning("gate.broken", error=str(error)[:200])
            raise GateBrokenError from error
