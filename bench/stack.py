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
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import redis

from models.settings import Settings, settings
from ops.boot import http_problem, loopback_url
from ops.errors import OpsError
from ops.launch import raise_open_files
from ops.ports import LOOPBACK, free_ports
from ops.postgres import SHARED_BUFFERS_MB_DEFAULT
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
    valkey_pid: int
    postgres_pid: int
    # The rows of the table of processes that run from the start, by name.
    rows: dict[str, "Running"] = field(default_factory=dict)

    @property
    def web_url(self) -> str:
        return loopback_url(self.settings.host, self.settings.port)

    @property
    def live_url(self) -> str:
        return loopback_url(self.settings.host, self.settings.live_port)

    def row(self, name: str, **changes: object) -> Process:
        """The row of the table of processes with this name, as other settings would have it."""
        known = self.settings.model_copy(update=changes)
        return next(process for process in application(known) if process.name == name)

    def versions(self) -> dict[str, str]:
        """The versions of the servers behind the shop."""
        with psycopg.connect(self.settings.psycopg_url) as connection:
            postgres = connection.info.parameter_status("server_version") or "unknown"
        with redis.Redis.from_url(self.settings.redis_url, decode_responses=True) as client:
            about = client.info("server")
        name = "valkey" if "valkey_version" in about else "redis"
        return {"postgresql": postgres, name: str(about[f"{name}_version"])}


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of one row."""

    pids: tuple[int, ...]

    def cpu_seconds(self) -> float:
        """What they and their children have used so far, user and system."""
        return sum(cpu_seconds(pid) for pid in self.pids)

    def cpu_seconds_beside(self) -> float:
        """Of it, what threads other than the first of each process have used."""
        family = [member for pid in self.pids for member in _family(pid)]
        return sum(
            thread.user_time + thread.system_time
            for process in family
            for thread in process.threads()
            if thread.id != process.pid
        )


@contextmanager
def measured_stack(without: Collection[str] = LEFT_OUT, **environment: str) -> Iterator[Stack]:
    """Bring a whole demo up on free ports, without some rows of the table, with more settings in its environment.

    For one benchmark a process: the environment and the clients of this process are the stack's from then on. Raises
    OpsError where it does not come up.
    """
    raise_open_files()
    with ExitStack() as cleanup:
        postgres = cleanup.enter_context(embedded_postgres(shared_buffers_mb=SHARED_BUFFERS_MB_DEFAULT))
        valkey = cleanup.enter_context(embedded_valkey())
        logs = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="doorbuster-bench-")))
        ports = free_ports(3)
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
            "LOG_LEVEL": "WARNING",
            **environment,
        }
        settings.cache_clear()
        stack = Stack(settings(), logs, valkey.pid or 0, postgres.pid or 0)
        for job in (MIGRATE, SEED):
            _run(job)
        rows = {process.name: process for process in application(stack.settings) if process.name not in without}
        for process in rows.values():
            stack.rows[process.name] = cleanup.enter_context(started(stack, process))
        for name, url in (("web", stack.web_url), ("live", stack.live_url)):
            if name in rows:
                wait_until_it_answers(f"{url}/healthz")
        if {"worker", "beat", "chores", "web"} <= rows.keys():
            wait_until_it_answers(f"{stack.web_url}/readyz")
        yield stack


@contextmanager
def started(stack: Stack, process: Process, *, target: str = "") -> Iterator[Running]:
    """Run all processes of a row until the block ends; with `target` another application than the shop's."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in process.programs.items():
            arguments = [*command[:-1], target] if target else command
            with (stack.log_folder / f"{name}-{target or 'shop'}.log").open("ab") as log:
                children.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "ops.launch", process.stop_signal.name, *arguments],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=os.environ | dict(process.environment),
                        start_new_session=True,
                    )
                )
        yield Running(tuple(child.pid for child in children))
    finally:
        for child in children:
            _end(child, process)


def cpu_seconds(pid: int) -> float:
    """What a process and its children have used so far, user and system; those that are gone count nothing."""
    total = 0.0
    for process in _family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def machine_cpu_seconds() -> float:
    """What everything on this machine has used so far, the kernel too, and what its host gave to others."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _family(pid: int) -> list[psutil.Process]:
    """A process and its children; none where it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_until_it_answers(url: str) -> None:
    """Return when `url` answers 200; raises OpsError after a minute."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while (problem := http_problem(url)) is not None:
        if time.monotonic() > deadline:
            raise OpsError(f"{url} does not answer: {problem}")
        time.sleep(POLL_SECONDS)


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
