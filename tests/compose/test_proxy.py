"""The proxy's configuration, run by a real nginx in front of two rooms that say who they are."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ops.ports import free_port

CONFIGURATION = Path(__file__).parents[2] / "ops/proxy/nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or shutil.which("nginx")
START_SECONDS_MAX = 120
# What the file says to whoever has TLS end in front of it.
FRONT_LINES = ("set_real_ip_from 10.0.0.0/8;", "real_ip_header X-Forwarded-For;", "real_ip_recursive on;")


@pytest.fixture(autouse=True)
def nginx() -> None:
    """Without nginx these tests are skipped, and say so; with REQUIRE_PROXY=1 they fail."""
    if NGINX is None:
        words = "there is no nginx here: make proxy"
        if os.environ.get("REQUIRE_PROXY") == "1":
            pytest.fail(words)
        pytest.skip(words)


class Room(BaseHTTPRequestHandler):
    """Answers with its own name and the headers that reached it."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"room": self.server.room, "headers": dict(self.headers)}).encode()
        self.send_response(503 if self.path == "/full" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Silence."""


class Door:
    """The proxy on its port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body or None, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "{}")
        finally:
            connection.close()

    def room(self, method: str, path: str, headers: dict[str, str] | None = None) -> str:
        return str(self.ask(method, path, headers)[1]["room"])


@pytest.fixture
def rooms() -> Iterator[dict[str, ThreadingHTTPServer]]:
    servers = {}
    for name in ("web", "live"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Room)
        server.room = name
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers[name] = server
    yield servers
    for server in servers.values():
        server.shutdown()
        server.server_close()


@contextmanager
def proxy(tmp_path: Path, rooms: dict[str, ThreadingHTTPServer], text: str) -> Iterator[Door]:
    """nginx with this configuration, but for addresses and paths that are those of this test."""
    port = free_port()
    home = tmp_path / f"nginx-{port}"
    home.mkdir()
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("/tmp/", f"{home}/")  # noqa: S108 - the container's own
    for name, server in rooms.items():
        text = re.sub(rf"server {name}:\d+ resolve;", f"server 127.0.0.1:{server.server_port};", text)
    text = re.sub(r"^ *resolver .*$", "", text, flags=re.MULTILINE).replace("/dev/stdout", str(home / "access.log"))
    # An open-file limit and a wait for the last client are the container's business.
    text = re.sub(r"^(worker_rlimit_nofile|worker_shutdown_timeout|worker_processes) .*$", "", text, flags=re.MULTILINE)
    file = home / "nginx.conf"
    file.write_text("worker_processes 1;\n" + text)
    process = subprocess.Popen([str(NGINX), "-p", str(home), "-c", str(file), "-g", "daemon off;"])
    deadline = time.monotonic() + START_SECONDS_MAX
    try:
        while True:
            assert process.poll() is None, "nginx did not start"
            assert time.monotonic() < deadline, "nginx does not answer"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Door(port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def door(tmp_path: Path, rooms: dict[str, ThreadingHTTPServer]) -> Iterator[Door]:
    """The proxy as it stands in the repository."""
    with proxy(tmp_path, rooms, CONFIGURATION.read_text()) as opened:
        yield opened


@pytest.fixture
def behind(tmp_path: Path, rooms: dict[str, ThreadingHTTPServer]) -> Iterator[Callable[[str], Door]]:
    """behind("10.0.0.0/8") -> the proxy with that range named as what stands in front, where its comments say."""
    with ExitStack() as stack:

        def opened(front: str) -> Door:
            text = CONFIGURATION.read_text()
            for line in ("# 10.0.0.0/8 1;", *(f"#   {word}" for word in FRONT_LINES)):
                assert line in text
                text = text.replace(line, line.lstrip("# ").replace("10.0.0.0/8", front))
            return stack.enter_context(proxy(tmp_path, rooms, text))

        yield opened


def test_pages_and_plain_requests_go_to_web(door: Door) -> None:
    assert door.room("GET", "/") == "web"
    assert door.room("GET", "/api/flash-sales?page=1") == "web"
    assert door.room("POST", "/api/flash-sales/7/purchases") == "web"
    assert door.room("POST", "/api/flash-sales/7/purchases", {"Prefer": "respond-async"}) == "web"


BEARER = {"Authorization": "Bearer a.b.c"}
WAITS = (
    ("GET", "/api/purchases/7-1?wait=10", {}),
    ("GET", "/api/flash-sales/7/purchases/1", {"Prefer": "wait=10"}),
    ("POST", "/api/flash-sales/7/purchases", {"Prefer": "wait=10"}),
    ("POST", "/api/flash-sales/7/reservations", {"Prefer": "respond-async, wait=10"}),
)


@pytest.mark.parametrize(("method", "path", "wish"), WAITS)
def test_whoever_waits_with_a_bearer_token_does_so_at_web(
    door: Door, method: str, path: str, wish: dict[str, str]
) -> None:
    assert door.room(method, path, wish | BEARER) == "web"
    assert door.room(method, path, wish | BEARER | {"Cookie": "access_token=d.e.f", "Idempotency-Key": "one"}) == "web"


@pytest.mark.parametrize(("method", "path", "wish"), WAITS)
def test_a_wait_that_would_hold_one_of_webs_threads_goes_to_live(
    door: Door, method: str, path: str, wish: dict[str, str]
) -> None:
    assert door.room(method, path, wish) == "live"
    assert door.room(method, path, wish | {"Cookie": "access_token=d.e.f"}) == "live"
    for scheme in ("Basic", "bearer"):
        assert door.room(method, path, wish | {"Authorization": f"{scheme} a.b.c"}) == "live"
    for name in ("X-Request-Id", "traceparent"):
        assert door.room(method, path, wish | BEARER | {name: "mine"}) == "live"
        # Who does not wait is web's, whatever they name.
        assert door.room(method, path.partition("?")[0], BEARER | {name: "mine"}) == "web"


def test_calls_of_older_dialects_wait_without_saying_so_and_go_to_live(door: Door) -> None:
    for path in ("/api/reserve", "/purchase", "/purchase-product", "/api/purchase-product"):
        assert door.room("POST", path) == "live"
        assert door.room("POST", path, BEARER | {"Prefer": "wait=10"}) == "live"
    for path in ("/api/checkout", "/start-sale", "/api/purchase-products"):
        assert door.room("POST", path) == "web"


def test_sockets_go_to_live_with_their_upgrade_at_the_root_and_at_ws(door: Door) -> None:
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for path, token in (("/", {}), ("/ws", {}), ("/", BEARER), ("/ws", BEARER)):
        _, heard = door.ask("GET", path, handshake | token)
        assert heard["room"] == "live"
        assert heard["headers"]["Connection"].lower() == "upgrade"
        assert heard["headers"]["Upgrade"] == "websocket"
    assert door.room("GET", "/ws") == "live"


def test_a_client_cannot_claim_another_address(door: Door) -> None:
    _, heard = door.ask("GET", "/", {"X-Forwarded-For": "203.0.113.9"})

    assert heard["headers"]["X-Forwarded-For"] == "127.0.0.1"


def test_a_client_cannot_claim_https_and_whoever_ends_tls_in_front_can(
    door: Door, behind: Callable[[str], Door]
) -> None:
    def told(by: Door, **claims: str) -> tuple[str, str]:
        headers = by.ask("GET", "/", {name.replace("_", "-"): value for name, value in claims.items()})[1]["headers"]
        return headers["X-Forwarded-Proto"], headers["X-Forwarded-For"]

    claims = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "203.0.113.9"}
    assert told(door, **claims) == ("http", "127.0.0.1")

    front = behind("127.0.0.0/8")
    assert told(front, **claims) == ("https", "203.0.113.9")
    assert told(front, X_Forwarded_Proto="gopher", X_Forwarded_For="203.0.113.9") == ("http", "203.0.113.9")
    assert told(front) == ("http", "127.0.0.1")

    elsewhere = behind("10.0.0.0/8")
    assert told(elsewhere, **claims) == ("http", "127.0.0.1")


def test_a_room_that_is_away_is_told_in_the_words_of_the_api(door: Door, rooms: dict[str, ThreadingHTTPServer]) -> None:
    rooms["web"].shutdown()
    rooms["web"].server_close()

    status, told = door.ask("GET", "/")

    assert (status, told["code"], told["statusCode"]) == (503, "UNAVAILABLE", 503)
    assert door.room("GET", "/ws") == "live"


def test_what_the_application_refuses_passes_as_it_is(door: Door) -> None:
    status, told = door.ask("GET", "/full")

    assert (status, told["room"]) == (503, "web")


def test_a_body_beyond_all_measure_is_refused_at_the_door(door: Door) -> None:
    status, told = door.ask("POST", "/api/products", body=b"x" * (1024 * 1024 + 1))

    assert (status, told["code"]) == (413, "BODY_TOO_LARGE")


def test_the_metrics_are_not_for_the_street(door: Door) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 404
    connection.close()
