"""A whole shop for tests and pictures: the processes of ops/processes.py, ended when the block ends.

They run on free ports, against the servers of this process's settings.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.settings import settings
from ops.errors import OpsError
from ops.ports import LOOPBACK, free_port
from ops.processes import application

ROOT = Path(__file__).parent.parent
READY_SECONDS_MAX = 180
POLL_SECONDS = 0.1
# Flower watches; nobody buys there.
LEFT_OUT = frozenset({"flower"})


class ThrowawayShop:
    """The running processes, by their names in the table."""

    def __init__(self, logs: Path) -> None:
        self.port, self.live_port = free_port(), free_port()
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises OpsError if it is not within three minutes."""
        known = settings().model_copy(
            update={"host": LOOPBACK, "port": self.port, "live_port": self.live_port, "web_workers": 1}
        )
        for process in application(known):
            if process.name not in LEFT_OUT:
                self._commands |= process.programs
        for name in self._commands:
            self.start_process(name)
        self._wait_until_ready()

    def start_process(self, name: str) -> None:
        ports = {"HOST": LOOPBACK, "PORT": str(self.port), "LIVE_PORT": str(self.live_port)}
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *self._commands[name]], cwd=ROOT, env=os.environ | ports, stdout=log, stderr=log
            )

    @property
    def names(self) -> list[str]:
        """What runs, by its name in the table."""
        return list(self._running)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def signal(self, name: str, number: int) -> None:
        """For example SIGSTOP and SIGCONT: a process that is away for a while."""
        self._running[name].send_signal(number)

    def stop_process(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    def stop(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for name in list(self._running):
            self.stop_process(name)

    def log(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + READY_SECONDS_MAX
        addresses = [f"{self.url}/readyz", f"http://{LOOPBACK}:{self.live_port}/healthz"]
        while addresses:
            try:
                with urllib.request.urlopen(addresses[0], timeout=5):  # noqa: S310 # nosec B310 # our own address
                    addresses.pop(0)
            except (urllib.error.URLError, OSError) as why:
                if time.monotonic() > end:
                    raise OpsError(f"the shop is not ready: {addresses[0]}: {why}; see {self._logs}") from why
                time.sleep(POLL_SECONDS)


@contextmanager
def throwaway_shop(logs: Path) -> Iterator[ThrowawayShop]:
    """A running shop on the PostgreSQL and Redis of this process's settings; its logs lie in `logs`."""
    shop = ThrowawayShop(logs)
    try:
        shop.start()
        yield shop
    finally:
        shop.stop()
