"""The application over empty stores, with this process's copy of the standing rules as empty as they are."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from models.addresses import parse_address
from models.clock import now
from models.database import transaction
from models.fraud import FraudRecord, NewFraudRecord, Signal, Verdict
from models.tokens import issue_access_token
from models.user import User
from ops.ports import free_port
from tests.application import application
from tests.ending import end
from web.recorder import recorder
from web.standing import standing_copy

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 240
# Addresses of nobody (RFC 5737); the admin of these tests sits at 127.0.0.1.
OFFICE = "198.51.100.7"
CARD = "card 4242"


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until the condition holds, and return what it came to; fail with `what` if it does not in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    return pytest.fail(f"not within {seconds} s: {what}")


@pytest.fixture
def app(store):
    app = application()
    # The stores were emptied under this process's feet.
    assert standing_copy().renew()
    yield app
    eventually(lambda: recorder().is_idle, "the records of this test are written")


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def auth():
    """auth(user) -> the header that this user sends."""
    return lambda user: {"Authorization": f"Bearer {issue_access_token(user.id, user.role)}"}


@pytest.fixture
def admin(make_user, auth):
    """The header of an admin."""
    return auth(make_user(role="admin"))


@pytest.fixture
def make_rule(client, admin):
    """make_rule("203.0.113.0/24", action="deny", …) -> the answer's data"""

    def make(network: str, action: str = "deny", **fields: Any) -> dict[str, Any]:
        body = {"network": network, "action": action, "reason": "a test"} | fields
        answer = client.post("/api/ip-rules", headers=admin, json=body)
        assert answer.status_code == 201, answer.json
        return answer.json["data"]

    return make


@pytest.fixture
def asked_from(client):
    """asked_from(address) -> the status of a visit to the shop from there"""
    return lambda address: client.get("/api/products", environ_overrides={"REMOTE_ADDR": address}).status_code


@pytest.fixture
def buy(client, auth, make_user):
    """buy(sale, user=…, address=…, group_key=…) -> the answer to a purchase, by a new buyer unless told"""

    def ask(sale, user=None, address=OFFICE, group_key=None, key=None):
        body = {"quantity": 1} | ({"groupKey": group_key} if group_key else {})
        headers = auth(user or make_user()) | ({"Idempotency-Key": key} if key else {})
        url = f"/api/flash-sales/{getattr(sale, 'id', sale)}/purchases"
        return client.post(url, json=body, headers=headers, environ_overrides={"REMOTE_ADDR": address})

    return ask


@pytest.fixture
def records(store):
    """records(count) -> all fraud records, oldest first, as soon as there are so many"""

    def read() -> list[FraudRecord]:
        with transaction() as session:
            return list(session.scalars(select(FraudRecord).order_by(FraudRecord.id)))

    def wait_for(count: int) -> list[FraudRecord]:
        eventually(lambda: len(read()) >= count, f"{count} records are written")
        return read()

    return wait_for


class Server:
    """A process that serves the application, as the table of processes has it."""

    COMMANDS = {  # noqa: RUF012
        "web": ("web.serve", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--no-ws", "wsgi:app"),
        "live": (
            *("gunicorn", "--worker-class", "gevent", "--workers", "1", "--no-control-socket"),
            *("--bind", "127.0.0.1:{port}", "wsgi:app"),
        ),
    }

    def __init__(self, kind: str, log: Path, **variables: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", *(word.format(port=self.port) for word in self.COMMANDS[kind])]
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | variables, stdout=output, stderr=output
            )

    def wait_ready(self) -> "Server":
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                self.status("/healthz")
            except OSError:
                time.sleep(0.05)
            else:
                return self
        return pytest.fail(f"it did not start: {self._log.read_text()[-2000:]}")

    def status(self, path: str = "/api/products", *headers: tuple[str, str]) -> int:
        """The status of a GET with these headers, each on a line of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest("GET", path)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            return connection.getresponse().status
        finally:
            connection.close()

    def stop(self) -> None:
        end(self._process)


@pytest.fixture(scope="module")
def serve(servers, tmp_path_factory) -> Iterator[Callable[..., Server]]:
    """serve("web", TRUSTED_PROXIES="127.0.0.0/8") -> a process, stopped after the module's last test"""
    started: list[Server] = []
    logs = tmp_path_factory.mktemp("servers")

    def start(kind: str, **variables: str) -> Server:
        started.append(Server(kind, logs / f"{kind}-{len(started)}.log", **variables))
        return started[-1].wait_ready()

    yield start
    for server in started:
        server.stop()


def record_of(user_id=1, sale_id=1, signal=Signal.MANY_ACCOUNTS, action=Verdict.FLAG, **fields):
    values = {"at": now(), "address": parse_address(OFFICE), "subject": OFFICE, "score": 100, "details": {"count": 20}}
    return NewFraudRecord(
        **values | {"user_id": user_id, "sale_id": sale_id, "signal": signal, "action": action} | fields
    )


@pytest.fixture
def listed(client, admin):
    """listed("signal=many_sales") -> the answer's JSON"""

    def look(query=""):
        answer = client.get(f"/api/fraud-records?{query}", headers=admin)
        assert answer.status_code == 200, answer.json
        return answer.json

    return look


@pytest.fixture
def overrule(client, admin):
    def ask(record_id, **body):
        body = body or {"note": "known to us"}
        return client.post(f"/api/fraud-records/{record_id}/overrule", headers=admin, json=body)

    return ask


def users_without_accounts(count):
    """Buyers for whom a token is enough: accounts cannot be made while PostgreSQL is away."""
    return [User(id=1_000 + number, role="customer") for number in range(count)]


def rules_in_the_database():
    with transaction() as session:
        return session.execute(text("SELECT id, network, action, reason, expires_at FROM ip_rules ORDER BY id")).all()
