"""`make run`: everything on this machine, in the foreground, until Ctrl-C.

    make -> ops.run -> supervisord -> postgres, redis, web, live, worker, chores, beat, flower

This process checks what can be checked, starts supervisord, opens the shop (ops.boot) and then waits for a signal.
supervisord restarts what dies. Whoever dies first, nobody is left alone: see ops.launch. `make dev` is the same, with
ops.reload beside it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from types import FrameType

from dotenv import dotenv_values

from models.settings import Settings
from ops.boot import Boot
from ops.checks import ENV_FILE, check_ports, check_urls, load_settings
from ops.counting import forget_counts, metrics_directory
from ops.embedded import EmbeddedServer
from ops.errors import OpsError
from ops.launch import END_SECONDS_MAX, end_stack_processes, stack_processes
from ops.processes import POSTGRES, REDIS, Process, application
from ops.stack import write_stack
from ops.state import DataDir, Secrets
from ops.supervisor import Supervisor
from ops.terminal import say
from ops.watch import watch

FLOWER_USER = "admin"
FAILED = 1
STOP_SECONDS_MAX = 60  # every part has its own grace, after which the supervisor kills it


class StopRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP came. Not an Exception: nothing on the way up may mistake it for an error."""


def main(*, reload: bool = False) -> int:
    """Run the stack until a signal comes; `reload` starts the shop's processes anew when their sources change."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, _request_stop)
    try:
        data_dir = DataDir.at(load_settings().data_dir)
        data_dir.create()
        with data_dir.locked():
            return _run(data_dir, reload=reload)
    except OpsError as why:
        print(f"doorbuster: {why}", file=sys.stderr, flush=True)
        return FAILED
    except OSError as why:  # a full disk, a directory that was taken away
        print(f"doorbuster: the system does not let us go on: {why}", file=sys.stderr, flush=True)
        return FAILED
    except StopRequested:
        return 0


def _run(data_dir: DataDir, *, reload: bool) -> int:
    """Run the stack of this directory, which is ours alone, until somebody asks to stop."""
    _end_former_stack(data_dir)
    check_urls(load_settings())
    check_ports(load_settings())
    secrets = Secrets.load_or_make(data_dir)
    embedded = embedded_servers(secrets, data_dir)
    environment = stack_environment(secrets, data_dir)
    settings = load_settings(environment)
    counts = settings.metrics_dir or metrics_directory(data_dir)
    forget_counts(counts)
    supervisor = Supervisor(data_dir, [*embedded, *application(settings)], environment)
    meanwhile = _reloading(supervisor, settings) if reload else nullcontext(lambda: False)
    say(f"Doorbuster starts; its data is in {data_dir.path}")
    try:
        for server in embedded.values():
            server.prepare()  # here, where a failure is a line on the terminal; the supervisor would try for ever
        write_stack(data_dir, environment)
        with meanwhile as restarted:
            supervisor.start()
            Boot(supervisor, settings, data_dir, os.environ | environment, gives_up=not reload).run()
            status = watch(supervisor, data_dir, restarted)
        raise OpsError(f"the supervisor ended with status {status}: see {data_dir.log('supervisord')}")
    except StopRequested:
        say("\nDoorbuster stops ...")
        return 0
    finally:
        _ignore_signals()
        _stop(supervisor, embedded.values(), data_dir)
        forget_counts(counts)


def _reloading(supervisor: Supervisor, settings: Settings) -> AbstractContextManager[Callable[[], bool]]:
    try:
        from ops.reload import reloading  # noqa: PLC0415 - what it watches with is there for developers alone
    except ModuleNotFoundError as why:
        raise OpsError(f"there is no {why.name} here: start with `make dev`, which installs it") from why
    return reloading(supervisor, settings)


def embedded_servers(secrets: Secrets, data_dir: DataDir) -> dict[Process, EmbeddedServer]:
    """The servers that we bring up ourselves: those whose URL nobody gave."""
    given = _given()
    servers: dict[Process, EmbeddedServer] = {}
    if "DATABASE_URL" not in given:
        servers[POSTGRES] = secrets.postgres(data_dir)
    if "REDIS_URL" not in given:
        servers[REDIS] = secrets.redis(data_dir)
    return servers


def stack_environment(secrets: Secrets, data_dir: DataDir) -> dict[str, str]:
    """The settings of the stack by their environment names: what was given, and what `make run` makes up for the rest.

    Children get these on top of our own environment, so the secrets never appear in a command line.
    """
    made_up = {
        "ENVIRONMENT": "demo",
        "DATABASE_URL": secrets.postgres(data_dir).url,
        "REDIS_URL": secrets.redis(data_dir).url,
        "JWT_SECRET_KEY": secrets.jwt_secret_key,
        "METRICS_DIR": str(metrics_directory(data_dir)),
        "FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{secrets.flower_password}",
    }
    settings = load_settings()
    ports = {name: str(getattr(settings, name.lower())) for name in ("PORT", "LIVE_PORT", "FLOWER_PORT")}
    return ports | made_up | _given() | {"DATA_DIR": str(data_dir.path)}


def _given() -> dict[str, str]:
    """The settings that the environment or `.env` gives, by their names in capitals; an empty one is not given."""
    found = {**dotenv_values(ENV_FILE), **os.environ}
    known = {name.upper() for name in Settings.model_fields}
    return {name.upper(): value for name, value in found.items() if name.upper() in known and value}


def _end_former_stack(data_dir: DataDir) -> None:
    """End what a former run left in this directory: possible only if it was killed, since the lock is ours now."""
    mark = str(data_dir.path)
    if stack_processes(mark):
        say("Ending what an earlier run left behind ...")
        end_stack_processes(mark, program="", ask_seconds=STOP_SECONDS_MAX)  # the supervisor stops the rest in order
        end_stack_processes(mark)


def _stop(supervisor: Supervisor, servers: Iterable[EmbeddedServer], data_dir: DataDir) -> None:
    supervisor.stop()
    try:
        supervisor.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        if supervisor.process is not None:
            supervisor.process.kill()
            supervisor.wait()
    # Nothing is left unless the supervisor was killed; then everything is on its way out by itself (ops.launch).
    end_stack_processes(str(data_dir.path), ask_seconds=END_SECONDS_MAX)
    for server in servers:
        server.evict()
    data_dir.stack.unlink(missing_ok=True)


def _request_stop(_number: int, _frame: FrameType | None) -> None:
    _ignore_signals()  # the stop is under way: make, the terminal and a second Ctrl-C have nothing to add
    raise StopRequested


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
