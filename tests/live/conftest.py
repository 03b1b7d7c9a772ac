"""A real live process (gunicorn with gevent), and a real client library over real sockets."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import websocket

from models.tokens import issue_access_token
from ops.ports import free_port
from tests.ending import end

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 240
# Far above what anything takes here alone.
HEAR_SECONDS = 60


class Live:
    """A live process of the application, and its address."""

    def __init__(self, log: Path, app: str = "wsgi:app", **variables: str) -> None:
        self.port = free_port()
        self._app = app
        self._variables = variables
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []

    def start(self) -> None:
        command = [sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--workers", "1"]
        command += ["--no-control-socket", "--bind", f"127.0.0.1:{self.port}", self._app]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | self._variables, stdout=log, stderr=log
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        self.stop()
        pytest.fail(f"live did not start: {self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process:
            end(self._process)

    def connect(self, path: str = "/ws", token: str | None = None, address: str | None = None) -> "Client":
        """A client; `address` is where a proxy says that it comes from."""
        headers = [f"Authorization: Bearer {token}"] if token else []
        headers += [f"X-Forwarded-For: {address}"] if address else []
        url = f"ws://127.0.0.1:{self.port}{path}"
        client = Client(websocket.create_connection(url, timeout=HEAR_SECONDS, header=headers))
        self._clients.append(client)
        return client

    def hang_up(self) -> None:
        """End every conversation that was begun."""
        while self._clients:
            self._clients.pop().close()


class Client:
    """A buyer's socket: sends events, and remembers what it heard."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self.connection = connection

    def send(self, event: str, **data: object) -> "Client":
        self.connection.send(json.dumps({"event": event, "data": data}))
        return self

    def hear(self, seconds: float = HEAR_SECONDS) -> tuple[str, dict]:
        self.connection.settimeout(seconds)
        message = json.loads(self.connection.recv())
        return message["event"], message["data"]

    def hear_until(self, event: str, seconds: float = HEAR_SECONDS, **wanted: object) -> list[tuple[str, dict]]:
        """Everything heard up to and with the first such event with these data."""
        heard = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            heard.append(self.hear(max(0.01, end - time.monotonic())))
            name, data = heard[-1]
            if name == event and all(data.get(key) == value for key, value in wanted.items()):
                return heard
        pytest.fail(f"{event} was not heard, only {heard}")

    def hears_nothing(self, seconds: float) -> bool:
        try:
            self.hear(seconds)
        except websocket.WebSocketTimeoutException:
            return True
        return False

    def is_dropped(self) -> bool:
        """Whether the server ends the conversation, whatever it still has to say."""
        try:
            for _ in range(1_000):
                self.hear()
        except websocket.WebSocketTimeoutException:
            return False
        except (websocket.WebSocketException, OSError, json.JSONDecodeError):
            return True
        return False

    def close(self) -> None:
        self.connection.close(timeout=1)
        self.connection.shutdown()


@pytest.fixture(scope="session")
def live_process(servers, tmp_path_factory) -> Iterator[Live]:
    process = Live(tmp_path_factory.mktemp("live") / "live.log")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def live(store, live_process) -> Iterator[Live]:
    yield live_process
    live_process.hang_up()


@pytest.fixture
def token_of():
    """token_of(user id) -> an access token"""
    return lambda user_id, role="customer", lifetime=None, **more: issue_access_token(user_id, role, lifetime, **more)


@pytest.fixture(scope="module")
def other_live(servers, tmp_path_factory) -> Iterator[Callable[..., Live]]:
    """other_live("some.module:app", TRUSTED_PROXIES=…) -> a live process of its own kind, for this module"""
    started: list[Live] = []

    def start(app: str = "wsgi:app", **variables: str) -> Live:
        log = tmp_path_factory.mktemp("live") / "live.log"
        started.append(Live(log, app, **variables))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.hang_up()
        process.stop()
