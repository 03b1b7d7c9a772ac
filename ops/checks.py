"""What can be wrong before anything is started, each as one line that says what to do."""

import errno
from pathlib import Path

import psycopg
from dotenv.parser import parse_stream
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError
from redis.connection import parse_url

from models.redisurl import is_cluster
from models.settings import Settings, settings_problems
from ops.errors import OpsError
from ops.ports import bind_error

ENV_FILE = Path(".env")
PORT_MAX = 65_535


def load_settings(overrides: dict[str, str] | None = None) -> Settings:
    """The settings from the environment and `.env`, `overrides` (by environment name) on top; raises OpsError."""
    check_env_file(ENV_FILE)
    given = {name.lower(): value for name, value in (overrides or {}).items()}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as why:
        raise OpsError("; ".join(settings_problems(why))) from None


def check_env_file(file: Path) -> None:
    """Refuse a `.env` that cannot be read line by line: the library would skip the line and say nothing here."""
    if not file.exists():
        return
    try:
        with file.open(encoding="utf-8") as lines:
            wrong = next((binding.original for binding in parse_stream(lines) if binding.error), None)
    except UnicodeDecodeError as why:
        raise OpsError(f"{file} is not UTF-8 text: write it anew, starting from .env.example") from why
    except OSError as why:
        raise OpsError(f"cannot read {file} ({why.strerror}): mend or remove it") from why
    if wrong is not None:
        line = wrong.line + len(wrong.string) - len(wrong.string.lstrip("\n"))
        raise OpsError(f"{file} line {line} is not NAME=value: {wrong.string.strip()[:60]!r}; mend or remove the line")


def check_urls(settings: Settings) -> None:
    """Refuse addresses that cannot be understood; whether anybody answers there is seen later. Raises OpsError."""
    # What the libraries complain of may hold the password, so it is not repeated.
    try:
        conninfo_to_dict(settings.psycopg_url)
    except psycopg.ProgrammingError:
        raise OpsError("DATABASE_URL: write it as postgresql://user:password@host:port/name") from None
    for name, url in (("REDIS_URL", settings.redis_url), ("BROKER_URL", settings.broker_url)):
        if (name == "BROKER_URL" and not url.startswith("redis")) or is_cluster(url):
            continue  # another broker has its own way to write it, and a cluster's is read with the settings
        try:
            parse_url(url or "redis://")  # type: ignore[no-untyped-call]
        except ValueError:
            raise OpsError(f"{name}: write it as redis://:password@host:port/0") from None


def check_ports(settings: Settings) -> None:
    """Refuse ports that are the same, taken, or not for us to take; raises OpsError."""
    wanted = {"PORT": settings.port, "LIVE_PORT": settings.live_port, "FLOWER_PORT": settings.flower_port}
    if len(set(wanted.values())) < len(wanted):
        listed = ", ".join(f"{name}={port}" for name, port in wanted.items())
        raise OpsError(f"the ports must differ from each other: {listed}")
    for name, port in wanted.items():
        problem = bind_error(settings.host, port)
        if problem is not None:
            raise OpsError(_port_problem(problem, name, port, settings.host))


def _port_problem(problem: OSError, name: str, port: int, host: str) -> str:
    other = port + 10 if port + 10 <= PORT_MAX else port - 10
    if problem.errno == errno.EADDRINUSE:
        return (
            f"{name} {port} is in use on {host}: stop what listens there or choose another, "
            f"e.g. {name}={other} make run"
        )
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"{name} {port} is not for this user: choose one from 1024 up, e.g. {name}={8000 + port} make run"
    if problem.errno == errno.EADDRNOTAVAIL:
        return f"HOST {host} is not an address of this machine: use 127.0.0.1, or 0.0.0.0 for all of its addresses"
    return f"cannot listen on {name} {port} of {host}: {problem.strerror or problem}"
