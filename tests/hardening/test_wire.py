"""What the servers themselves stand, by raw sockets: too long, too many, too slow, and of two minds.

web and live as ops/processes.py starts them, without a proxy in front.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from models.settings import settings
from models.tokens import issue_access_token
from ops.ports import LOOPBACK, free_port
from ops.processes import application
from tests.ending import end

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 300
ANSWER_SECONDS_MAX = 90
THREADS = 4
HEAD = b"Host: shop.test\r\nConnection: close\r\n"
PURCHASE = b"POST /api/flash-sales/7/purchases HTTP/1.1\r\nHost: shop.test\r\nContent-Type: application/json\r\n"
LOGIN = b"POST /api/auth/login HTTP/1.1\r\nHost: shop.test\r\nContent-Type: application/json\r\n"


class Server:
    """One of our servers, and what it answers to bytes."""

    def __init__(self, name):
        self.name, self.port = name, free_port()
        known = settings().model_copy(
            update={
                "host": LOOPBACK,
                "port": self.port,
                "live_port": self.port,
                "web_workers": 1,
                "web_threads": THREADS,
            }
        )
        (process,) = (each for each in application(known) if each.name == name)
        environment = os.environ | {"WEB_THREADS": str(THREADS), "PORT": str(self.port), "HOST": LOOPBACK}
        self._process = subprocess.Popen([sys.executable, *process.command(1)], cwd=ROOT, env=environment)
        end = time.monotonic() + START_SECONDS_MAX
        while self.is_well() != 200:
            assert self._process.poll() is None
            assert time.monotonic() < end, f"{name} did not start"
            time.sleep(0.1)

    def connect(self):
        return socket.create_connection((LOOPBACK, self.port), timeout=ANSWER_SECONDS_MAX)

    def send(self, request):
        """The status of the answer; 0 where the connection ends without one."""
        with self.connect() as connection:
            # It may be refused before the server has read everything.
            with contextlib.suppress(OSError):
                connection.sendall(request)
            return status_of(connection)

    def is_well(self):
        try:
            return self.send(b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n")
        except OSError:
            return 0

    def stop(self):
        end(self._process)


def status_of(connection):
    said = b""
    try:
        while b"\r\n" not in said:
            more = connection.recv(4096)
            if not more:
                break
            said += more
    except ConnectionError:
        pass
    found = re.match(rb"HTTP/1\.[01] (\d{3})", said)
    return int(found[1]) if found else 0


@pytest.fixture(scope="module", params=["web", "live"])
def server(request, servers):
    started = Server(request.param)
    yield started
    started.stop()


@pytest.mark.parametrize(
    ("request_line_and_headers", "statuses"),
    [
        (b"GET /healthz?" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HEAD, {400, 414}),
        (b"GET /healthz HTTP/1.1\r\n" + HEAD + b"X-Long: " + b"a" * 500_000 + b"\r\n", {400, 431}),
        (b"GET /healthz HTTP/1.1\r\n" + HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(1000)), {400, 431}),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Odd : a\r\n", {400}),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Odd: a\r\n folded: b\r\n", {400}),
        (b"GET /healthz\x00 HTTP/1.1\r\n" + HEAD, {400}),
        (LOGIN + b"Content-Length: 4\r\nContent-Length: 5\r\n", {400}),
        (LOGIN + b"Content-Length: -1\r\n", {400}),
        (LOGIN + b"Transfer-Encoding: xchunked\r\n", {400, 501}),
        (b"nonsense\r\n", {400}),
    ],
    ids=[
        "a long address",
        "a large header",
        "many headers",
        "a blank before the colon",
        "a folded header",
        "a NUL in the address",
        "two lengths",
        "a negative length",
        "an unknown encoding",
        "no HTTP",
    ],
)
def test_what_is_too_long_too_many_or_of_two_minds_is_refused(server, request_line_and_headers, statuses):
    status = server.send(request_line_and_headers + b"\r\n")

    # A server may hang up before all has been sent; it never lets it in.
    assert status in statuses | {0}
    assert server.is_well() == 200


def test_a_body_above_the_limit_is_refused_before_it_has_come(server):
    status = server.send(LOGIN + b"Content-Length: 50000000\r\n\r\n" + b" " * 100)

    assert status == 413


def test_a_body_in_pieces_that_goes_on_is_refused_at_the_limit(server):
    pieces = b"".join(b"2000\r\n" + b" " * 0x2000 + b"\r\n" for _ in range(12))

    assert server.send(LOGIN + b"Transfer-Encoding: chunked\r\n\r\n" + pieces) in {413, 0}
    assert server.is_well() == 200


def test_headers_that_come_drop_by_drop_hold_nobody_up(server):
    with ExitStack() as held:
        for _ in range(THREADS * 10):
            slow = held.enter_context(server.connect())
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-")

        assert server.is_well() == 200
        if server.name == "web":
            # gunicorn waits: one greenlet each is what that costs, and there is a proxy in front of it.
            assert status_of(slow) in {0, 408}


@pytest.mark.parametrize("whose", ["a stranger's", "a buyer's"])
def test_bodies_that_never_come_hold_nobody_else_up(server, whose):
    token = issue_access_token(1, "customer")
    request = LOGIN if whose == "a stranger's" else PURCHASE + f"Authorization: Bearer {token}\r\n".encode()
    with ExitStack() as held:
        for _ in range(THREADS * 10):
            slow = held.enter_context(server.connect())
            slow.sendall(request + b"Content-Length: 14\r\n\r\n{")
        time.sleep(1)

        assert server.is_well() == 200
        assert server.send(b"GET /api/products HTTP/1.1\r\n" + HEAD + b"\r\n") == 200
        assert server.send(LOGIN + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}") == 400
        if server.name == "web":
            # gunicorn waits for as long as they like: see above.
            assert status_of(slow) == 408


def test_answers_that_nobody_takes_hold_nobody_else_up(server):
    with ExitStack() as held:
        for _ in range(THREADS * 10):
            slow = held.enter_context(socket.socket())
            # Or the kernel would take the whole answer in its place.
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            slow.connect((LOOPBACK, server.port))
            slow.sendall(b"GET /api/docs/swagger/js/swagger-ui-bundle.js HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        time.sleep(1)

        assert server.is_well() == 200
        assert server.send(b"GET /api/products HTTP/1.1\r\n" + HEAD + b"\r\n") == 200


def test_a_body_that_never_comes_is_not_waited_for_where_a_token_is_needed(server):
    forged = issue_access_token(1, "admin")[:-4] + "AAAA"
    slow = b"POST /api/products HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\nContent-Length: 100\r\n"

    assert server.send(slow + b"\r\n{") == 401
    assert server.send(slow + f"Authorization: Bearer {forged}\r\n\r\n".encode() + b"{") == 401


def test_the_proxy_reads_a_body_before_it_passes_it_on_and_waits_for_ten_seconds_at_most():
    told = (ROOT / "ops" / "proxy" / "nginx.conf").read_text()

    # Buffering is nginx's way unless it is turned off.
    assert "proxy_request_buffering" not in told
    for name in ("client_header_timeout", "client_body_timeout"):
        assert f"{name} 10s;" in told
    assert "client_max_body_size 1m;" in told
