"""The real stack under the faults: servers of its own, and every process of the table under the real supervisor.

Each process reaches each server over a line of its own (tests/faults/proxy.py). What is killed is started again by
supervisord, as with `make run`; the rig stands in for it with PostgreSQL and Redis, whose time away is a part of the
fault.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import redis
from psycopg.rows import dict_row

from models.settings import Settings, settings
from ops.errors import OpsError
from ops.launch import end_stack_processes
from ops.ports import LOOPBACK, free_ports
from ops.processes import Process, application
from ops.state import DataDir
from ops.supervisor import Supervisor
from ops.throwaway import PREFIX, embedded_postgres, embedded_valkey
from tests.faults.disk import SmallDisk, unmount_left_behind
from tests.faults.proxy import Line, Lines

ROOT = Path(__file__).parent.parent.parent
CLOCK = Path(__file__).parent / "clock"
WEBS = ("web-1", "web-2")
LIVES = ("live-1", "live-2")
WORKERS = ("worker-1", "worker-2")
# The broker is the same Redis, over a line of its own.
SERVERS = ("postgres", "redis", "broker")
CELERY = (*WORKERS, "chores")
# Flower watches; nobody buys there.
LEFT_OUT = frozenset({"flower"})

# A machine that does much else starts ten processes slowly.
READY_SECONDS_MAX = 600
STOP_SECONDS_MAX = 60
MIGRATE_SECONDS_MAX = 120
POLL_SECONDS = 0.1
PROBE_SECONDS_MAX = 5
STATEMENT_MS = 10_000
# Keeps the small disk small: by its own measure PostgreSQL would keep a gigabyte of its log.
LOG_MB = 64
# How PostgreSQL knows the rig's own sessions.
RIG = "faults"
ENVIRONMENT = {
    "ENVIRONMENT": "development",
    "LOG_LEVEL": "WARNING",
    "WEB_THREADS": "16",
    # One address is the whole crowd here.
    "RATE_LIMIT_DEFAULT": "1000000/minute",
    "RATE_LIMIT_ADDRESS": "1000000/minute",
    "RATE_LIMIT_PURCHASE": "1000000/minute",
}


class Stack:
    """Everything that runs, by name: `web-1`, `web-2`, `live-1`, `live-2`, `worker-1`, `worker-2`, `chores`, `beat`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.disk = SmallDisk(home / "disk")
        self.ports = dict(zip((*WEBS, *LIVES), free_ports(len(WEBS) + len(LIVES)), strict=True))
        self._exit = ExitStack()
        self._lines: dict[tuple[str, str], Line] = {}
        self._loops: Lines | None = None
        self.supervisor: Supervisor | None = None

    @property
    def web_urls(self) -> list[str]:
        return [f"http://{LOOPBACK}:{self.ports[name]}" for name in WEBS]

    @property
    def live_urls(self) -> list[str]:
        return [f"http://{LOOPBACK}:{self.ports[name]}" for name in LIVES]

    @property
    def logs(self) -> Path:
        return self.home / "stack" / "logs"

    def start(self) -> None:
        """Start everything and wait until it sells; raises OpsError. Call it from the main thread."""
        self.disk.mount()
        self.postgres = self._exit.enter_context(embedded_postgres(self.disk.place))
        self.redis = self._exit.enter_context(embedded_valkey(self.home))
        with self.sql(autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET max_wal_size = '{LOG_MB}MB'")
            connection.execute(f"ALTER SYSTEM SET min_wal_size = '{LOG_MB // 2}MB'")
            connection.execute("SELECT pg_reload_conf()")
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            check=True,
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": self.postgres.url},
            timeout=MIGRATE_SECONDS_MAX,
        )
        data_dir = DataDir.at(self.home / "stack")
        data_dir.create()
        self._loops = Lines()
        environment = ENVIRONMENT | {"JWT_SECRET_KEY": settings().jwt_secret_key, "DATA_DIR": str(data_dir.path)}
        self.supervisor = Supervisor(data_dir, list(self._processes(self._loops)), environment)
        self.supervisor.start()
        self.supervisor.start_application()
        self.wait_until_ready()

    def stop(self) -> None:
        """End everything, whatever state a fault left it in."""
        if self.supervisor is not None:
            mark = str(self.supervisor.data_dir.path)
            self.supervisor.stop()
            with suppress(subprocess.TimeoutExpired):
                self.supervisor.wait(STOP_SECONDS_MAX)
            end_stack_processes(mark)
        if self._loops is not None:
            self._loops.close()
        self.disk.free()
        self._exit.close()
        self.disk.unmount()

    def _processes(self, loops: Lines) -> Iterator[Process]:
        known = Settings(_env_file=None).model_copy(  # type: ignore[call-arg]
            update={"host": LOOPBACK, "web_workers": 1, "live_workers": 1, "settle_workers": len(WORKERS)}
        )
        rows = {row.name: row for row in application(known) if row.name not in LEFT_OUT}
        for name in WEBS:
            rows[name] = _row(application(known.model_copy(update={"port": self.ports[name]})), "web")
        for name in LIVES:
            rows[name] = _row(application(known.model_copy(update={"live_port": self.ports[name]})), "live")
        del rows["web"], rows["live"]
        for name, row in rows.items():
            programs = {name: row.command(1)} if row.count == 1 else row.programs
            for program, command in programs.items():
                lines = {server: loops.to(self._port_of(server)) for server in SERVERS}
                self._lines |= {(program, server): line for server, line in lines.items()}
                environment = (
                    ("DATABASE_URL", _over(self.postgres.url, lines["postgres"])),
                    ("REDIS_URL", _over(self.redis.url, lines["redis"])),
                    ("BROKER_URL", _over(self.redis.url, lines["broker"])),
                    ("PYTHONPATH", str(CLOCK)),
                    ("FAULTS_CLOCK", str(self._clock_file(program))),
                )
                yield replace(row, name=program, argv=tuple(command), count=1, environment=environment)

    def _port_of(self, server: str) -> int:
        return self.postgres.port if server == "postgres" else self.redis.port

    def line(self, program: str, server: str) -> Line:
        """The line between a process and `postgres`, `redis` or `broker`."""
        return self._lines[program, server]

    @property
    def programs(self) -> list[str]:
        return sorted({program for program, _ in self._lines})

    def pids(self) -> dict[str, int]:
        """What runs now under the supervisor, by name."""
        return self.supervisor.process_ids() if self.supervisor is not None else {}

    def process(self, program: str, rng: random.Random | None = None) -> psutil.Process | None:
        """A process of a program: its main one, or with `rng` any of it (web and live have children that work)."""
        try:
            main = psutil.Process(self.pids()[program])
            family = [main, *main.children(recursive=True)]
        except (KeyError, psutil.Error):
            return None
        return rng.choice(family) if rng is not None else main

    def set_clock(self, program: str, seconds: float) -> None:
        """Have a process find its clock so far ahead (negative: behind) when it is started next."""
        self._clock_file(program).write_text(str(seconds))

    def _clock_file(self, program: str) -> Path:
        return self.home / f"clock-{program}"

    @contextmanager
    def sql(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection[dict[str, object]]]:
        """A connection of the rig's own, straight to PostgreSQL."""
        with psycopg.connect(
            self.postgres.url,
            autocommit=autocommit,
            connect_timeout=PROBE_SECONDS_MAX,
            application_name=RIG,
            options=f"-c statement_timeout={STATEMENT_MS} -c timezone=UTC",
            row_factory=dict_row,
        ) as connection:
            yield connection

    @contextmanager
    def keys(self) -> Iterator["redis.Redis"]:
        """A client of the rig's own, straight to Redis."""
        client = redis.Redis.from_url(
            self.redis.url,
            decode_responses=True,
            socket_timeout=PROBE_SECONDS_MAX,
            socket_connect_timeout=PROBE_SECONDS_MAX,
        )
        with client:
            yield client

    def wait_until_ready(self) -> None:
        """Return when everything runs and is well; raises OpsError after five minutes."""
        end = time.monotonic() + READY_SECONDS_MAX
        self.wait_until_up(READY_SECONDS_MAX)
        for url in self.web_urls:
            _wait_until(lambda url=url: _answers(f"{url}/readyz"), f"{url} is ready", end)  # type: ignore[misc]

    def wait_until_up(self, seconds_max: float) -> None:
        """Return when everything runs; raises OpsError."""
        _wait_until(self._is_up, "everything runs", time.monotonic() + seconds_max)

    def _is_up(self) -> bool:
        """Whether both servers answer, every process of the table runs, and each has come as far as its work."""
        if set(self.pids()) < set(self.programs) or not self._servers_answer():
            return False
        listens = all(self.line(name, "broker").ports_out for name in CELERY)
        return listens and all(_answers(f"{url}/healthz") for url in (*self.web_urls, *self.live_urls))

    def _servers_answer(self) -> bool:
        with self.sql() as connection, self.keys() as client:
            connection.execute("SELECT 1")
            client.set("faults:well", "1", ex=10)
        return True

    def revive(self) -> None:
        """Start the servers that died, as a supervisor would."""
        for server in (self.postgres, self.redis):
            if server.pid is None:
                server.start()


def _row(rows: tuple[Process, ...], name: str) -> Process:
    return next(row for row in rows if row.name == name)


def _over(url: str, line: Line) -> str:
    """A server's URL over a line of ours."""
    before, _, after = url.rpartition(":")
    return f"{before}:{line.port}/{after.partition('/')[2]}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS_MAX):  # noqa: S310 - our own address
            return True
    except (urllib.error.URLError, OSError):
        return False


def _wait_until(is_well: Callable[[], bool], what: str, end: float) -> None:
    while True:
        with suppress(OpsError, psycopg.Error, redis.RedisError):
            if is_well():
                return
        if time.monotonic() > end:
            raise OpsError(f"the stack is not well: not in time: {what}")
        time.sleep(POLL_SECONDS)


@contextmanager
def fault_stack() -> Iterator[Stack]:
    """A running stack on servers of its own; gone with its data when the block ends."""
    temporary = Path(tempfile.gettempdir())
    unmount_left_behind(PREFIX, temporary)
    # The name by which ops.throwaway finds the servers of a run that was killed.
    home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    home.chmod(0o711)
    stack = Stack(home)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(home, ignore_errors=True)
