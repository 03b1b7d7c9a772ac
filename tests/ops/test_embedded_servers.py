"""The embedded servers: what they hold survives a kill, and what a kill leaves behind is cleared away."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from ops.accounts import home_for, unprivileged_account
from ops.postgres import EmbeddedPostgres
from ops.throwaway import embedded_postgres, embedded_valkey
from ops.valkey import EmbeddedValkey


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with embedded_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[EmbeddedValkey]:
    with embedded_valkey() as server:
        yield server


def test_a_row_committed_before_a_kill_is_there_after_it(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE kept (unit int)")
        connection.execute("INSERT INTO kept VALUES (7)")

    postgres.kill()
    postgres.start()

    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT unit FROM kept").fetchall() == [(7,)]


def test_a_kill_ends_every_process_of_the_server_at_once(postgres: EmbeddedPostgres) -> None:
    family = psutil.Process(postgres.pid).children(recursive=True)
    with psycopg.connect(postgres.url) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        # The slowest of all to notice that its parent is gone.
        backend.suspend()

        postgres.kill()

        assert [process for process in (*family, backend) if _is_alive(process)] == []
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    postgres.start()


def test_a_postmaster_killed_alone_comes_back_to_its_data(postgres: EmbeddedPostgres) -> None:
    """What it forked notices by itself, and the next start waits for it."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept_alone (unit int)")
        connection.execute("INSERT INTO kept_alone VALUES (7)")
        postmaster = psutil.Process(postgres.pid)
        family = postmaster.children(recursive=True)

        postmaster.kill()
        postmaster.wait(60)
        postgres.start()

        assert [process for process in family if _is_alive(process)] == []
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT unit FROM kept_alone").fetchall() == [(7,)]


def test_a_write_that_valkey_acknowledged_before_a_kill_is_there_after_it(valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.set("kept", 7)

    valkey.kill()
    valkey.start()

    with redis.Redis.from_url(valkey.url) as client:
        assert client.get("kept") == b"7"


def test_the_servers_promise_what_the_design_rests_on(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    with psycopg.connect(postgres.url) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index]
            for name in ("fsync", "synchronous_commit", "timezone", "listen_addresses", "unix_socket_directories")
        }
        lowered = connection.execute("SELECT lower('ÄÖ')").fetchone()
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        given = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "bind", "save")

    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "timezone": "UTC",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
    }
    assert lowered == ("äö",)
    assert given == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "save": "",
    }


def test_nobody_gets_in_without_the_password(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url.replace(postgres.password, "wrong"))
    with (
        redis.Redis.from_url(valkey.url.replace(valkey.password, "wrong")) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_no_command_line_shows_a_password(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    for server in (postgres, valkey):
        command_line = " ".join(psutil.Process(server.pid).cmdline())

        assert server.password not in command_line
    assert (valkey.home / "valkey.conf").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "left_behind",
    [
        pytest.param("", id="empty"),
        pytest.param(f"{os.getpid()}\n", id="the pid of a process that is not a server"),
        pytest.param("999999999\n", id="the pid of nobody"),
    ],
)
def test_a_stale_pid_file_does_not_keep_a_server_from_starting(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, left_behind: str
) -> None:
    for server in (postgres, valkey):
        server.kill()
        server.pid_file.write_text(left_behind)

        server.start()

        assert server.problem() is None


def test_a_server_whose_supervisor_was_killed_is_put_out_before_the_next_one_starts(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    for server in (postgres, valkey):
        orphan = psutil.Process(server.pid)
        if isinstance(server, EmbeddedPostgres):
            heir: EmbeddedPostgres | EmbeddedValkey = EmbeddedPostgres(
                server.home, port=server.port, password=server.password
            )
        else:
            heir = EmbeddedValkey(server.home, port=server.port, password=server.password)

        heir.prepare()

        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        # Of a zombie the last threads may still be ending: until then its parent cannot take it away.
        end = time.monotonic() + 10
        while server.pid is not None and time.monotonic() < end:
            time.sleep(0.01)
        server.start()


def test_a_killed_initdb_leaves_no_half_of_a_cluster(tmp_path: Path) -> None:
    home = tmp_path / "postgres"
    (home / "pg.new").mkdir(parents=True)
    (home / "pg.new" / "PG_VERSION").write_text("half a cluster")

    with embedded_postgres(tmp_path) as server:
        assert server.problem() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has directories that another account cannot enter")
def test_a_directory_that_only_root_can_enter_is_left_as_it_is(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    account = unprivileged_account(closed)

    stand_in = home_for(account, closed)

    assert stand_in != closed
    assert closed.stat().st_mode & 0o777 == 0o700
    stand_in.rmdir()


def _is_alive(process: psutil.Process) -> bool:
    """Whether it runs: a zombie waits only for the system's first process to bury it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
