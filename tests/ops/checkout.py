"""A copy of the tree with a stack of its own, for the tests of what make starts.

A copy, so that no `.env` and no data of whoever runs the tests has a part in it, and its sources may be changed.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from models.settings import Settings
from ops.ports import free_ports
from ops.state import DataDir
from ops.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
NOT_COPIED = (".venv", ".git", ".data", ".env", "__pycache__", ".*_cache", ".hypothesis", "tests", "docs", "bench")
OPEN_SECONDS_MAX = 400
STOP_SECONDS_MAX = 180
ANSWER_SECONDS_MAX = 60


class Stack:
    """One `make run` or `make dev`, and what a visitor can see of it."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.data_dir = DataDir.at(checkout / ".data")
        self.ports = dict(zip(("PORT", "LIVE_PORT", "FLOWER_PORT"), map(str, free_ports(3)), strict=True))
        # Neither the settings of these tests nor the words of the make that runs them.
        ours = {name.upper() for name in Settings.model_fields} | {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
        self.environment = {name: value for name, value in os.environ.items() if name not in ours} | self.ports
        self.output = checkout / "output.txt"
        self.make: subprocess.Popen[bytes] | None = None

    def start(self, target: str = "run") -> str:
        """Make `target` in a process group of its own; returns what it said by the time the shop was open."""
        with self.output.open("wb") as output:
            self.make = subprocess.Popen(
                ["make", target, f"PYTHON={sys.executable}"],
                cwd=self.checkout,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: "Stop " in self.said or self.ended, OPEN_SECONDS_MAX)
        assert not self.ended, self.said
        return self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def ended(self) -> bool:
        return self.make is not None and self.make.poll() is not None

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.data_dir, (), {})

    def processes(self) -> list[psutil.Process]:
        assert self.make is not None
        return [psutil.Process(self.make.pid), *psutil.Process(self.make.pid).children(recursive=True)]

    def stop(self, number: signal.Signals) -> None:
        """Signal the process group, as a terminal or a CI does, and wait for make's end."""
        assert self.make is not None
        os.killpg(self.make.pid, number)
        self.make.wait(STOP_SECONDS_MAX)

    def ask(self, path: str, body: object = None, *, port: str = "PORT", **headers: str) -> tuple[int, Any]:
        """The status and JSON answer of a GET, or of a POST if there is a body; (0, None) if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.ports[port]), timeout=ANSWER_SECONDS_MAX)
        text = None if body is None else json.dumps(body)
        try:
            connection.request("POST" if text else "GET", path, text, {"Content-Type": "application/json"} | headers)
            answer = connection.getresponse()
            return answer.status, as_json(answer.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()


@contextmanager
def stack_in_a_copy(folder: Path) -> Iterator[Stack]:
    """A stack that is not started yet; in the end it is stopped, and what it kept is thrown away."""
    checkout = folder / "doorbuster"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (checkout / ".venv").symlink_to(Path(sys.prefix))
    stack = Stack(checkout)
    try:
        yield stack
    finally:
        if not stack.ended and stack.make is not None:
            stack.stop(signal.SIGTERM)
        subprocess.run(
            ["make", "reset", f"PYTHON={sys.executable}"],
            cwd=checkout,
            env=stack.environment,
            check=True,
            capture_output=True,
            timeout=240,
        )


def as_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def wait_until(happened: Callable[[], bool], seconds_max: float, *, pause_seconds: float = 0.1) -> None:
    deadline = time.monotonic() + seconds_max
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause_seconds)
