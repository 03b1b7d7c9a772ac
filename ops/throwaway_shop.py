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
from ops.ports import LOOPBACK, free_ports
from ops.processes import application

ROOT = Path(__file__).parent.parent
READY_SECONDS_MAX = 400
POLL_SECONDS = 0.1
# Above every grace in the table: a process that is killed instead has not been asked to stop.
STOP_SECONDS_MAX = 60


class ThrowawayShop:
    """The running processes, by their names in the table."""

    def __init__(self, logs: Path, *, flower: bool = False) -> None:
        self.port, self.live_port, self.flower_port = free_ports(3)
        # Flower watches; nobody buys there.
        self._left_out = frozenset() if flower else frozenset({"flower"})
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises OpsError if it is not in time."""
        ports = {"port": self.port, "live_port": self.live_port, "flower_port": self.flower_port}
        known = settings().model_copy(update={"host": LOOPBACK, "web_workers": 1} | ports)
        for process in application(known):
            if process.name not in self._left_out:
                self._commands |= process.programs
        for name in self._commands:
            self.start_process(name)
        self.wait_until_ready()

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
            process.wait(60)
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

    def wait_until_ready(self) -> None:
        """Until everything answers. Raises OpsError if it does not within three minutes."""
        end = time.monotonic() + READY_SECONDS_MAX
        addresses = [f"{self.url}/readyz", f"http://{LOOPBACK}:{self.live_port}/healthz"]
        if "flower" not in self._left_out:
            addresses.append(f"http://{LOOPBACK}:{self.flower_port}/healthcheck")
        while addresses:
            try:
                with urllib.request.urlopen(addresses[0], timeout=5):  # noqa: S310 # nosec B310 # our own address
                    addresses.pop(0)
            except (urllib.error.URLError, OSError) as why:
                if time.monotonic() > end:
                    raise OpsError(f"the shop is not ready: {addresses[0]}: {why}; see {self._logs}") from why
                time.sleep(POLL_SECONDS)


@contextmanager
def throwaway_shop(logs: Path, *, flower: bool = False) -> Iterator[ThrowawayShop]:
    """A running shop on the PostgreSQL and Redis of this process's settings; its logs lie in `logs`."""
    shop = ThrowawayShop(logs, flower=flower)
    try:
        shop.start()
        yield shop
    finally:
        shop.stop()
