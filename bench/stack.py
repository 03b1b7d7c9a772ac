"""A stack for measuring: servers of its own, the processes of the one table, gone with their data when the block ends.

Nothing that runs on this machine is touched, but everything that runs here is measured too: measure on an idle one.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from models.settings import Settings, settings
from ops.boot import http_problem, loopback_url
from ops.errors import OpsError
from ops.launch import raise_open_files
from ops.ports import LOOPBACK, free_port
from ops.processes import MIGRATE, SEED, Process, application
from ops.throwaway import embedded_postgres, embedded_valkey

READY_SECONDS_MAX = 60
JOB_SECONDS_MAX = 60
POLL_SECONDS = 0.1
# Nobody looks at Flower while we measure.
LEFT_OUT = ("flower",)


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack. The settings of this process point at it too."""

    settings: Settings
    log_folder: Path

    @property
    def web_url(self) -> str:
        return loopback_url(self.settings.host, self.settings.port)

    @property
    def live_url(self) -> str:
        return loopback_url(self.settings.host, self.settings.live_port)

    def row(self, name: str) -> Process:
        """The row of the table of processes with this name."""
        return next(process for process in application(self.settings) if process.name == name)

    def versions(self) -> dict[str, str]:
        """The versions of the servers behind the shop."""
        with psycopg.connect(self.settings.psycopg_url) as connection:
            postgres = connection.info.parameter_status("server_version") or "unknown"
        with redis.Redis.from_url(self.settings.redis_url, decode_responses=True) as client:
            about = client.info("server")
        name = "valkey" if "valkey_version" in about else "redis"
        return {"postgresql": postgres, name: str(about[f"{name}_version"])}


@contextmanager
def measured_stack() -> Iterator[Stack]:
    """Bring a whole demo up on free ports; raises OpsError where it does not come up."""
    raise_open_files()
    with ExitStack() as cleanup:
        postgres = cleanup.enter_context(embedded_postgres())
        valkey = cleanup.enter_context(embedded_valkey())
        logs = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="doorbuster-bench-")))
        ports = _free_ports(3)
        os.environ |= {
            "ENVIRONMENT": "demo",
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "BROKER_URL": "",
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
            "DATA_DIR": str(logs),
            "HOST": LOOPBACK,
            "PORT": str(ports[0]),
            "LIVE_PORT": str(ports[1]),
            "FLOWER_PORT": str(ports[2]),
        }
        settings.cache_clear()
        stack = Stack(settings(), logs)
        for job in (MIGRATE, SEED):
            _run(job)
        for process in application(stack.settings):
            if process.name not in LEFT_OUT:
                cleanup.enter_context(started(stack, process))
        for url in (stack.web_url, stack.live_url):
            wait_until_it_answers(f"{url}/readyz")
        yield stack


@contextmanager
def started(stack: Stack, process: Process, *, target: str = "", port: int = 0) -> Iterator[None]:
    """Run all processes of a row until the block ends; with `target` another WSGI application on another port."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in process.programs.items():
            arguments = _exchanged(command, stack.settings.port, target, port) if target else command
            with (stack.log_folder / f"{target or name}.log").open("ab") as log:
                running.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "ops.launch", process.stop_signal.name, *arguments],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=os.environ | dict(process.environment),
                        start_new_session=True,
                    )
                )
        yield
    finally:
        for child in running:
            _end(child, process)


def wait_until_it_answers(url: str) -> None:
    """Return when `url` answers 200; raises OpsError after a minute."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while (problem := http_problem(url)) is not None:
        if time.monotonic() > deadline:
            raise OpsError(f"{url} does not answer: {problem}")
        time.sleep(POLL_SECONDS)


def _exchanged(command: list[str], shop_port: int, target: str, port: int) -> list[str]:
    """The web server's command for another application: same settings, its own port."""
    words = [str(port) if word == str(shop_port) else word for word in command]
    return [*words[:-1], target]


def _run(job: Process) -> None:
    try:
        subprocess.run(
            [sys.executable, *job.command(1)], check=True, capture_output=True, text=True, timeout=JOB_SECONDS_MAX
        )
    except subprocess.CalledProcessError as why:
        raise OpsError(f"{job.name} failed: {why.stderr.strip().splitlines()[-1:]}") from why
    except subprocess.TimeoutExpired as why:
        raise OpsError(f"{job.name} took over {JOB_SECONDS_MAX} s") from why


def _end(child: subprocess.Popen[bytes], process: Process) -> None:
    child.send_signal(process.stop_signal)
    try:
        child.wait(process.grace_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _free_ports(count: int) -> list[int]:
    ports: list[int] = []
    while len(ports) < count:
        ports.append(free_port(taken=ports))
    return ports
