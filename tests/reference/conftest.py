"""The whole system as it runs for customers, and clients that are written from a reference document.

Every process is a real one with the command that `make run` gives it (ops/processes.py), against servers of its own, so
that no other test of the session meets its workers. One stack serves all tests; its data stays, as a shop's does.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import websocket

from models.settings import Settings
from ops.ports import free_ports
from ops.processes import MIGRATE, Process, application
from ops.throwaway import embedded_postgres, embedded_valkey
from tests.ending import end

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 300
PARTS = ("web", "live", "worker", "chores", "beat")
SETTINGS = {
    # As the documents have it: anybody may sign up as an admin.
    "ALLOW_ADMIN_SIGNUP": "true",
    # One address plays all the customers.
    "RATE_LIMIT_EXEMPT": "127.0.0.0/8, ::1/128",
    # Whoever plays somebody elsewhere says from where.
    "TRUSTED_PROXIES": "127.0.0.0/8, ::1/128",
    "WEB_WORKERS": "1",
    "SETTLE_WORKERS": "1",
    # A disk that the whole suite shares may keep Redis waiting for longer than a shop would.
    "REDIS_TIMEOUT_SECONDS": "10",
    "LIVE_WORKERS": "1",
    "JWT_SECRET_KEY": "a key for tests alone, of forty characters",
    "ENVIRONMENT": "development",
    "LOG_LEVEL": "WARNING",
}
numbers = count(1)


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers (their names in lower case), and the body as JSON."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


def _answer(status: int, response: Any) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status, json.loads(response.read()), headers)


class Shop:
    """Where the stack listens, and how a client speaks to it."""

    def __init__(self, port: int, live_port: int) -> None:
        self.port = port
        self.live_port = live_port
        self._sockets: list[Socket] = []

    def call(
        self, method: str, path: str, body: Any = None, token: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One HTTP request, whatever its answer."""
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, sent | (headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return _answer(response.status, response)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return _answer(refusal.code, refusal)

    def socket(self, path: str = "", token: str | None = None) -> "Socket":
        headers = [f"Authorization: Bearer {token}"] if token else []
        url = f"ws://127.0.0.1:{self.live_port}{path}"
        self._sockets.append(Socket(websocket.create_connection(url, timeout=10, header=headers)))
        return self._sockets[-1]

    def hang_up(self) -> None:
        while self._sockets:
            self._sockets.pop().connection.close(timeout=1)


@dataclass
class Socket:
    """A customer's WebSocket."""

    connection: websocket.WebSocket

    def send(self, frame: dict[str, Any]) -> None:
        self.connection.send(json.dumps(frame))

    def hear_until(self, event: str, seconds: float = 10) -> list[dict[str, Any]]:
        """Every frame up to and with the first of this event."""
        heard: list[dict[str, Any]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.connection.settimeout(max(0.01, end - time.monotonic()))
            heard.append(json.loads(self.connection.recv()))
            if heard[-1]["event"] == event:
                return heard
        pytest.fail(f"{event} was not heard, only {heard}")

    def hears_within(self, seconds: float) -> list[str]:
        """The events that come within this time."""
        heard = []
        end = time.monotonic() + seconds
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            while (left := end - time.monotonic()) > 0:
                self.connection.settimeout(left)
                heard.append(json.loads(self.connection.recv())["event"])
        return heard


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The running system."""
    logs = tmp_path_factory.mktemp("reference")
    ports = dict(zip(("PORT", "LIVE_PORT"), free_ports(2), strict=True))
    running: list[subprocess.Popen[bytes]] = []
    with embedded_postgres() as postgres, embedded_valkey() as valkey:
        variables = SETTINGS | {name: str(port) for name, port in ports.items()}
        variables |= {"DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
        known = Settings(_env_file=None, **{name.lower(): value for name, value in variables.items()})

        def start(process: Process) -> subprocess.Popen[bytes]:
            command = [sys.executable, *process.command(1)]
            with (logs / f"{process.name}.log").open("ab") as log:
                return subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stdout=log, stderr=log)

        assert start(MIGRATE).wait(300) == 0, (logs / "migrate.log").read_text()
        try:
            running += [start(process) for process in application(known) if process.name in PARTS]
            _wait_until_ready(tuple(ports.values()), logs)
            yield Shop(*ports.values())
        finally:
            _stop(running)


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    for each in running:
        each.terminate()
    for each in running:
        end(each)


def _wait_until_ready(ports: tuple[int, ...], logs: Path) -> None:
    """/readyz says that PostgreSQL, Redis, worker and beat are there."""
    end = time.monotonic() + START_SECONDS
    waiting = list(ports)
    while waiting and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{waiting[0]}/readyz", timeout=2):
                waiting.pop(0)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    if waiting:
        pytest.fail("not ready: " + "".join(log.read_text()[-1500:] for log in logs.iterdir()))


@pytest.fixture
def shop(stack: Shop) -> Iterator[Shop]:
    yield stack
    stack.hang_up()


@dataclass(frozen=True)
class Account:
    id: str
    token: str
    name: str
    email: str


@pytest.fixture
def sign_up(shop: Shop) -> Callable[..., Account]:
    """sign_up(role="customer") -> somebody new, logged in."""

    def make(role: str = "customer") -> Account:
        number = f"{next(numbers)}-{time.time_ns()}"
        name, email = f"{role.title()} {number}", f"{role}{number}@example.com"
        body = {"name": name, "email": email, "password": "secret-password", "role": role}
        answer = shop.call("POST", "/api/auth/signup", body)
        assert answer.status == 201, answer
        data = answer.body["data"]
        return Account(data["user"]["id"], data["accessToken"], name, email)

    return make


@pytest.fixture
def admin(sign_up: Callable[..., Account]) -> Account:
    return sign_up("admin")


@pytest.fixture
def customer(sign_up: Callable[..., Account]) -> Account:
    return sign_up()


@pytest.fixture
def make_product(shop: Shop, admin: Account) -> Callable[..., str]:
    """make_product(name=…, price=…) -> the id of a new product"""

    def make(**fields: Any) -> str:
        body = {"name": f"Thing {next(numbers)}", "price": 99.99} | fields
        answer = shop.call("POST", "/api/products", body, admin.token)
        assert answer.status == 201, answer
        return answer.body["data"]["id"]

    return make


def moment(**offset: float) -> str:
    """So much from now, as clients write a time: moment(hours=1) -> "2026-11-27T18:00:00Z"."""
    return (datetime.now(UTC) + timedelta(**offset)).isoformat(timespec="seconds").replace("+00:00", "Z")


def assert_refusal(answer: Answer, status: int, code: str | None = None) -> dict[str, Any]:
    """A refusal in the shape that 003 and 004 show."""
    assert answer.status == status, answer
    assert answer.body["success"] is False
    assert answer.body["statusCode"] == status
    assert answer.body["error"] == answer.body["message"]
    if code is not None:
        assert answer.body["code"] == code
    return answer.body


def eventually(look: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """The first true answer of `look`; fail with `what` if none comes in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s: {what}")


def sale_body(product_id: str, **fields: Any) -> dict[str, Any]:
    """A sale as 004 makes one."""
    return {
        "title": "Weekend Flash Sale",
        "description": "Amazing deals for the weekend",
        "productId": product_id,
        "flashPrice": 49.99,
        "totalStock": 50,
        "startTime": moment(seconds=-1),
        "endTime": moment(hours=12),
        "isFeatured": True,
    } | fields


@pytest.fixture
def create(shop: Shop, admin: Account, make_product: Callable[..., str]) -> Callable[..., Answer]:
    """create(flashPrice=…, …) -> the answer to making a sale of a new product at 99.99"""

    def make(**fields: Any) -> Answer:
        product_id = fields.pop("productId") if "productId" in fields else make_product(price=99.99)
        return shop.call("POST", "/api/flash-sales", sale_body(product_id, **fields), admin.token)

    return make


def created(answer: Answer) -> dict[str, Any]:
    assert answer.status == 201, answer
    return answer.body["data"]
