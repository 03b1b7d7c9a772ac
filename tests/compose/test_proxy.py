"""The proxy's configuration, run by a real nginx in front of two rooms that say who they are."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CONFIGURATION = Path(__file__).parents[2] / "ops/proxy/nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or shutil.which("nginx")
START_SECONDS_MAX = 10

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx here: apt-get install nginx-light")


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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=body or None, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "{}")
        finally:
            connection.close()

    def room(self, method: str, path: str, headers: dict[str, str] | None = None) -> str:
        return str(self.ask(method, path, headers)[1]["room"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


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


@pytest.fixture
def door(tmp_path: Path, rooms: dict[str, ThreadingHTTPServer]) -> Iterator[Door]:
    """nginx with our file, but for addresses and paths that are those of this test."""
    port = free_port()
    text = CONFIGURATION.read_text().replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("/tmp/", f"{tmp_path}/")  # noqa: S108 - the container's own
    for name, server in rooms.items():
        text = re.sub(rf"server {name}:\d+ resolve;", f"server 127.0.0.1:{server.server_port};", text)
    text = re.sub(r"^ *resolver .*$", "", text, flags=re.MULTILINE).replace("/dev/stdout", str(tmp_path / "access.log"))
    # An open-file limit and a wait for the last client are the container's business.
    text = re.sub(r"^(worker_rlimit_nofile|worker_shutdown_timeout|worker_processes) .*$", "", text, flags=re.MULTILINE)
    file = tmp_path / "nginx.conf"
    file.write_text("worker_processes 1;\n" + text)
    process = subprocess.Popen([str(NGINX), "-p", str(tmp_path), "-c", str(file), "-g", "daemon off;"])
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        assert process.poll() is None, "nginx did not start"
        assert time.monotonic() < deadline, "nginx does not answer"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield Door(port)
    process.send_signal(signal.SIGTERM)
    process.wait(10)


def test_pages_and_plain_requests_go_to_web(door: Door) -> None:
    assert door.room("GET", "/") == "web"
    assert door.room("GET", "/api/flash-sales?page=1") == "web"
    assert door.room("POST", "/api/flash-sales/7/purchases") == "web"
    assert door.room("POST", "/api/flash-sales/7/purchases", {"Prefer": "respond-async"}) == "web"


def test_whoever_waits_for_an_outcome_goes_to_live(door: Door) -> None:
    assert door.room("GET", "/api/purchases/7-1?wait=10") == "live"
    assert door.room("POST", "/api/flash-sales/7/purchases", {"Prefer": "wait=10"}) == "live"
    assert door.room("POST", "/api/flash-sales/7/purchases", {"Prefer": "respond-async, wait=10"}) == "live"


def test_calls_of_older_dialects_wait_without_saying_so_and_go_to_live(door: Door) -> None:
    for path in ("/api/reserve", "/purchase", "/purchase-product", "/api/purchase-product"):
        assert door.room("POST", path) == "live"
    for path in ("/api/checkout", "/start-sale", "/api/purchase-products"):
        assert door.room("POST", path) == "web"


def test_sockets_go_to_live_with_their_upgrade_at_the_root_and_at_ws(door: Door) -> None:
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for path in ("/", "/ws"):
        _, heard = door.ask("GET", path, handshake)
        assert heard["room"] == "live"
        assert heard["headers"]["Connection"].lower() == "upgrade"
        assert heard["headers"]["Upgrade"] == "websocket"
    assert door.room("GET", "/ws") == "live"


def test_a_client_cannot_claim_another_address(door: Door) -> None:
    _, heard = door.ask("GET", "/", {"X-Forwarded-For": "203.0.113.9"})

    assert heard["headers"]["X-Forwarded-For"] == "127.0.0.1"


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
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 404
    connection.close()
