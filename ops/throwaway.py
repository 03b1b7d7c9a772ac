"""Throw-away servers for the tests: real ones, on free ports, gone with their data when the block ends."""

import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ops.accounts import remove_home
from ops.cluster import EmbeddedCluster
from ops.ports import free_port
from ops.postgres import EmbeddedPostgres
from ops.valkey import EmbeddedValkey

PREFIX = "doorbuster-throwaway-"
TEST_BUFFERS_MB = 32


@contextmanager
def embedded_postgres(
    directory: Path | None = None, *, shared_buffers_mb: int = TEST_BUFFERS_MB
) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL with its data in `directory` (a fresh temporary one unless given).

    The caller may `kill()` it, `stop()` it and `start()` it again: same port, same password, same data.
    """
    with _home(directory, "postgres") as home:
        server = EmbeddedPostgres(
            home, port=free_port(), password=secrets.token_urlsafe(12), shared_buffers_mb=shared_buffers_mb
        )
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def embedded_valkey(directory: Path | None = None) -> Iterator[EmbeddedValkey]:
    """A running Valkey with its data in `directory` (a fresh temporary one unless given); see embedded_postgres."""
    with _home(directory, "redis") as home:
        server = EmbeddedValkey(home, port=free_port(), password=secrets.token_urlsafe(12))
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def embedded_cluster(*, node_timeout_ms: int) -> Iterator[EmbeddedCluster]:
    """A running Redis Cluster of three masters and three replicas; its nodes may be killed and started again."""
    with _home(None, "cluster") as home:
        cluster = EmbeddedCluster(home, password=secrets.token_urlsafe(12), node_timeout_ms=node_timeout_ms)
        try:
            yield cluster.start()
        finally:
            cluster.stop()


@contextmanager
def _home(directory: Path | None, name: str) -> Iterator[Path]:
    if directory is None:
        _sweep()
        home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    else:
        home = directory / name
        home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)  # PostgreSQL may run as another account
    try:
        yield home
    finally:
        remove_home(home)


def _sweep() -> None:
    """End the servers of test runs that were killed before they could, and remove their data."""
    for home in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = home.name.removeprefix(PREFIX).split("-")[0]
        if not owner.isdigit() or psutil.pid_exists(int(owner)):
            continue
        for process in psutil.process_iter():
            try:
                if process.name().startswith(("postgres", "valkey", "redis")) and home in Path(process.cwd()).parents:
                    process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
        remove_home(home)
