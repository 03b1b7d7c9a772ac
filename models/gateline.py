"""The way to Redis for the gate's one script: redis-py's connections, without what its client does around a command.

The client's look-ups, hooks and retries cost as much as the gate's whole trip to Redis, and the gate must not be tried
again anyway: docs/decisions/0018-the-short-way-through-the-door.md has the figures. This is the way of threads and
greenlets; models/looptrips.py is that of web's event loop, and comes here for a cluster, for TLS, and for replicas.
"""

import hashlib
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from models.errors import UnavailableError
from models.once import once
from models.redisclient import gate_client
from models.rediscluster import ClusterClient
from models.runtime import on_gevent
from models.settings import settings

if TYPE_CHECKING:
    from models.trips import Trips

log = structlog.get_logger()

# redis-py's own, of whatever kind its URL asks for; it comes without types.
Connection = Any

# Far above the threads of a web process; the greenlets of a live one wait for their turn.
CONNECTIONS_MAX = 128
# A connection that was used this lately is used again without a look at it.
TRUSTED_SECONDS = 0.5


class NotSentError(RedisConnectionError):
    """Nobody took the connection: what was to be sent on it certainly did not run."""


class NotReplicatedError(UnavailableError):
    """The request has its place in line, and too few replicas said in time that they have it too."""

    code = "NOT_REPLICATED"
    message = "Your request may stand, but is not safe yet: send it again, with the same Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Copies:
    """How many replicas must have what was written before it is promised, and how long to wait for them (ms).

    `codes` are the answers of a script that promise something.
    """

    replicas: int
    wait_ms: int
    codes: frozenset[str]


class Way(Protocol):
    """How a command reaches the server that has a key."""

    def call(self, command: Iterable[str | int], *, key: str, copies: Copies | None = None) -> Any: ...

    def close(self) -> None: ...


class GateLines:
    """Connections of this process, each lent to one caller at a time; the one used last is lent first."""

    def __init__(self, client: Redis) -> None:
        pool = client.connection_pool
        # Beside the pool, which counts what it makes and never hears that one of ours was given up.
        self._make: Callable[[], Connection] = lambda: pool.connection_class(**pool.connection_kwargs)
        self._idle: deque[tuple[Connection, float]] = deque()
        self._turns = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._patience_seconds = settings().redis_timeout_seconds

    def call(
        self, command: Iterable[str | int], *, key: str = "", copies: Copies | None = None, asking: bool = False
    ) -> Any:
        """Send a command and return its answer; never sent twice.

        Raises redis errors, NotSentError among them, and NotReplicatedError. After any of them but an answer the
        connection is closed: what is still on its way on it belongs to nobody. `asking` is for a slot of a cluster
        that is on its way to this server; one server has every `key`.
        """
        if not self._turns.acquire(timeout=self._patience_seconds):
            raise RedisConnectionError("no connection is free")
        try:
            connection = self._take()
            try:
                if asking:
                    connection.send_command("ASKING", check_health=False)
                    connection.read_response()
                connection.send_command(*command, check_health=False)
                answer = connection.read_response()
                is_safe = copies is None or answer[0] not in copies.codes or _is_copied(connection, copies)
            except ResponseError:
                self._give_back(connection)
                raise
            except BaseException:
                connection.disconnect()
                raise
            self._give_back(connection)
            if not is_safe:
                raise NotReplicatedError
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
        made = self._make()
        try:
            made.connect()
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise NotSentError(str(error)) from error
        _wait_in_kernel(made)
        return made

    def _give_back(self, connection: Connection) -> None:
        self._idle.append((connection, time.monotonic()))

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].disconnect()


def _is_copied(connection: Connection, copies: Copies) -> bool:
    """Whether the replicas have what this connection wrote last."""
    connection.send_command("WAIT", copies.replicas, copies.wait_ms, check_health=False)
    try:
        return bool(connection.read_response() >= copies.replicas)
    except ResponseError as error:
        # A master that becomes a replica lets go of who waits. What was written before stays unclear.
        log.warning("gate.uncopied", error=str(error)[:200])
        return False


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
def gate_lines() -> Way:
    client: Any = gate_client()
    if isinstance(client, ClusterClient):
        # Imported here: it is made of the lines above.
        from models.gatecluster import ClusterLines  # noqa: PLC0415

        return ClusterLines(client)
    return GateLines(client)


class GateBrokenError(UnavailableError):
    """The script stumbled: something that is not ours lies in the place of a key. Nobody was admitted."""

    message = "The sale cannot be read at this moment; try again"


class GateScript:
    """A Lua script, called by its hash."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def ask(
        self, trips: "Trips", keys: list[str], arguments: list[str | int], copies: Copies | None = None
    ) -> list[Any]:
        """The script's answer, of the server that has the keys.

        Raises redis errors where Redis is away, full or a replica, GateBrokenError where the script fails, and
        NotReplicatedError where fewer than `copies` have what it wrote.
        """
        command = ("EVALSHA", self._hash, len(keys), *keys, *arguments)
        try:
            try:
                return await trips.call(command, key=keys[0], copies=copies)  # type: ignore[no-any-return]
            except NoScriptError:
                # It did not run, so it may be sent again.
                await trips.call(("SCRIPT", "LOAD", self._text), key=keys[0])
                return await trips.call(command, key=keys[0], copies=copies)  # type: ignore[no-any-return]
        except (OutOfMemoryError, ReadOnlyError, RedisConnectionError):
            raise
        except ResponseError as error:
            if str(error).startswith("NOREPLICAS"):
                # min-replicas-to-write: it takes no writes at this moment, and took none.
                raise ReadOnlyError(str(error)) from error
            log.warning("gate.broken", error=str(error)[:200])
            raise GateBrokenError from error
