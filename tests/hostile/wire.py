"""HTTP by hand: any method, target, header and body as bytes, over a socket of its own."""

import http.client
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ops.ports import LOOPBACK
from tests.hostile.oracle import Answer


def ask(
    port: int, method: str, target: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float = 30
) -> Answer:
    """A request with these headers, and a Content-Length that is true. Raises OSError where there is no answer."""
    head = {"Host": f"{LOOPBACK}:{port}", "Content-Length": str(len(body)), "Connection": "close"} | dict(headers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    sent = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + body
    answer = send(port, sent, method, seconds=seconds)
    if answer is None:
        raise ConnectionResetError("no answer")
    return answer


def send(port: int, sent: bytes, method: str = "GET", *, seconds: float = 30) -> Answer | None:
    """The answer to these bytes; None where the server hangs up without one. Raises TimeoutError where it does
    neither."""
    with socket.create_connection((LOOPBACK, port), timeout=seconds) as connection:
        # A server that has heard enough may have said why before it hung up.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        return receive(connection, method)


def receive(connection: Any, method: str = "GET") -> Answer | None:
    """The next answer on this connection; None where there is none to come."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = response.read()
    except TimeoutError:
        raise
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError):
        return None
    finally:
        response.close()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
