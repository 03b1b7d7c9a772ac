"""Real PostgreSQL servers that are copies of others, and standbys that follow them."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from ops.accounts import remove_home
from ops.backup import copy_postgres
from ops.ports import LOOPBACK, free_port
from ops.postgres import DATABASE, ROLE, EmbeddedPostgres
from ops.throwaway import TEST_BUFFERS_MB

PATIENCE_SECONDS = 120


def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def ask(server: EmbeddedPostgres, query: str) -> list[tuple]:
    """The rows that a server answers with; each statement by itself."""
    with psycopg.connect(server.url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def configure(server: EmbeddedPostgres, name: str, value: str) -> None:
    ask(server, f"ALTER SYSTEM SET {name} = '{value}'")
    ask(server, "SELECT pg_reload_conf()")


@contextmanager
def copy_of(other: EmbeddedPostgres, *, follows: bool = False) -> Iterator[EmbeddedPostgres]:
    """A running server made from a base backup of another; it follows the other, or goes a way of its own."""
    home = Path(tempfile.mkdtemp(prefix="doorbuster-copy-"))
    home.chmod(0o711)
    server = EmbeddedPostgres(home, port=free_port(), password=other.password, shared_buffers_mb=TEST_BUFFERS_MB)
    try:
        copy_postgres(other, server.data)
        if follows:
            (server.data / "standby.signal").touch()
            with (server.data / "postgresql.auto.conf").open("a") as configuration:
                configuration.write(f"primary_conninfo = '{_address(other)}'\nwal_retrieve_retry_interval = 200\n")
        if server.account:
            for path in (server.data, *server.data.rglob("*")):
                os.chown(path, server.account.uid, server.account.gid)
        yield server.start()
    finally:
        server.stop()
        remove_home(home)


def is_followed(server: EmbeddedPostgres, *, synchronously: bool = False) -> bool:
    wanted = "sync" if synchronously else "%"
    return bool(
        ask(
            server,
            f"SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state LIKE '{wanted}'",  # noqa: S608
        )
    )


def has_everything_of(server: EmbeddedPostgres, other: EmbeddedPostgres) -> bool:
    """Whether a standby can show what the other has written until now."""
    [(written,)] = ask(other, "SELECT pg_current_wal_flush_lsn()::text")
    [(lag,)] = ask(server, f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn")
    return bool(lag)


def cut_off(server: EmbeddedPostgres) -> None:
    """A standby hears nothing more of the server that it follows."""
    configure(server, "primary_conninfo", "")
    eventually(lambda: not ask(server, "SELECT 1 FROM pg_stat_wal_receiver"), "the standby is cut off")


def reconnect(server: EmbeddedPostgres, other: EmbeddedPostgres) -> None:
    configure(server, "primary_conninfo", _address(other))


def either_of(*servers: EmbeddedPostgres) -> str:
    """One address for whichever of these servers takes writes."""
    hosts = ",".join(f"{LOOPBACK}:{server.port}" for server in servers)
    return f"postgresql://{ROLE}:{servers[0].password}@{hosts}/{DATABASE}?target_session_attrs=read-write"


def _address(server: EmbeddedPostgres) -> str:
    return f"host={LOOPBACK} port={server.port} user={ROLE} password={server.password} application_name=standby"
