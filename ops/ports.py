"""TCP ports: which are taken, and where an embedded server may listen."""

import errno
import random
import socket
from collections.abc import Collection

from ops.errors import OpsError

LOOPBACK = "127.0.0.1"

# Below every system's ephemeral range (Linux starts at 32768, macOS at 49152). A server that is killed must find its
# port again: from inside that range, a client that keeps trying to reach it could be given the very port as its own.
EMBEDDED_PORT_FIRST = 20_000
EMBEDDED_PORT_LAST = 32_000
EMBEDDED_PORT_TRIES = 200


def bind_error(host: str, port: int) -> OSError | None:
    """Why nobody can listen on `host` and `port` now, or None if somebody can."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as why:
        return OSError(errno.EADDRNOTAVAIL, str(why))
    for family, kind, protocol, _, address in addresses:
        with socket.socket(family, kind, protocol) as listener:
            # As servers do: a connection of a former life that is still in TIME_WAIT is no obstacle.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
                listener.listen(1)
            except OSError as why:
                return why
    return None


def free_port(*, preferred: int | None = None, taken: Collection[int] = ()) -> int:
    """A free loopback port for an embedded server: `preferred` (its port of the last run) if that is still free.

    Random, so that test processes which start at the same moment do not all ask for the same one. Raises OpsError if
    200 tries find none.
    """
    draws = random.sample(range(EMBEDDED_PORT_FIRST, EMBEDDED_PORT_LAST), EMBEDDED_PORT_TRIES)
    for port in draws if preferred is None else [preferred, *draws]:
        if port not in taken and bind_error(LOOPBACK, port) is None:
            return port
    raise OpsError(f"no free port between {EMBEDDED_PORT_FIRST} and {EMBEDDED_PORT_LAST} on {LOOPBACK}")


def free_ports(count: int) -> list[int]:
    """So many free ports, no two alike; as `free_port` otherwise."""
    found: list[int] = []
    while len(found) < count:
        found.append(free_port(taken=found))
    return found
