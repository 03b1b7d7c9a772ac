"""Real servers that are asked to stop, and connections that are kept."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.settings import settings
from models.tokens import issue_access_token
from ops.ports import LOOPBACK, free_port
from ops.processes import application
from tests.ending import end

ROOT = Path(__file__).parents[2]
START_SECONDS = 150
REFUSAL_SECONDS_MAX = 20
PLAIN = {
    "web": ("-m", "granian", "--interface", "wsgi", "--host", LOOPBACK, "--port", "{port}", "--no-ws", "wsgi:app"),
}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: dict


class StillAnsweringError(Exception):
    """A server that was asked to stop goes on as if it had not been."""


class Kept:
    """A connection that is kept between requests, as a browser or a proxy keeps it."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection(LOOPBACK, port, timeout=40)

    def ask_until_refused(self, method: str, path: str) -> Answer:
        """The first answer that is no success; whatever ends the connection before that is an error. Raises
        StillAnsweringError where neither comes."""
        end = time.monotonic() + REFUSAL_SECONDS_MAX
        while time.monotonic() < end:
            answer = self.ask(method, path)
            if answer.status >= 400:
                return answer
            time.sleep(0.02)
        raise StillAnsweringError

    def ask(self, method: str, path: str, body: dict | None = None, **headers: str) -> Answer:
        self.send(method, path, body, **headers)
        return self.answer()

    def send(self, method: str, path: str, body: dict | None = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, named | ({"Content-Type": "application/json"} if text else {}))

    def answer(self) -> Answer:
        told = self.connection.getresponse()
        return Answer(told.status, {name.lower(): value for name, value in told.getheaders()}, json.loads(told.read()))


class ServerProcess:
    """A web or live process of the table, on a port of its own."""

    def __init__(self, kind: str, log: Path, *, plain: bool = False) -> None:
        self.port = free_port()
        known = settings().model_copy(update={"port": self.port, "live_port": self.port, "web_workers": 2})
        row = next(process for process in application(known) if process.name == kind)
        self.grace_seconds = row.grace_seconds
        words = [word.replace("{port}", str(self.port)) for word in PLAIN[kind]] if plain else row.command(1)
        # Whoever asks until a slow machine has let go is not to hear that they ask too much.
        environment = os.environ | {"RATE_LIMIT_EXEMPT": f"{LOOPBACK}/32"}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        self._kept: list[Kept] = []
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.kept()
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < end, log.read_text()[-3000:]
                time.sleep(0.1)
            else:
                return

    def kept(self) -> Kept:
        """A connection that was used once already."""
        self._kept.append(Kept(self.port))
        assert self._kept[-1].ask("GET", "/healthz").status == 200
        return self._kept[-1]

    def ask_to_stop(self) -> float:
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def end(self) -> None:
        for kept in self._kept:
            kept.connection.close()
        end(self.process, seconds_max=15)


@pytest.fixture
def server(store, tmp_path) -> Iterator[Callable[..., ServerProcess]]:
    """server("web") -> a process of that row of the table; server("web", plain=True) as its maker ships it."""
    running: list[ServerProcess] = []

    def start(kind: str, *, plain: bool = False) -> ServerProcess:
        running.append(ServerProcess(kind, tmp_path / f"{kind}.log", plain=plain))
        return running[-1]

    yield start
    for process in running:
        process.end()


@pytest.fixture
def buyer(make_user) -> dict[str, str]:
    user = make_user()
    return {"Authorization": f"Bearer {issue_access_token(user.id, user.role)}"}
