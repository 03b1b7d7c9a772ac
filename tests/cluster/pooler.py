"""A real PgBouncer in front of a PostgreSQL, which lends its connections by the transaction."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ops.accounts import unprivileged_account
from ops.ports import LOOPBACK, free_port

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or shutil.which(
    "pgbouncer"
)
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20
# Fewer than its clients have, so that each of them is lent to several.
SERVER_CONNECTIONS = 3


def require_pooler() -> None:
    """Without PgBouncer a test is skipped, and says so; with REQUIRE_POOLER=1 it fails."""
    if PGBOUNCER is None:
        words = "there is no pgbouncer here: make pooler"
        if os.environ.get("REQUIRE_POOLER") == "1":
            pytest.fail(words)
        pytest.skip(words)


@contextmanager
def pooler(server_url: str, *, ignored: str = "") -> Iterator[str]:
    """PgBouncer in front of the server at this address; the address through it.

    `ignored` are startup parameters that it takes and forgets, where it would refuse a client that sends them.
    """
    server = urlsplit(server_url)
    port = free_port()
    home = Path(tempfile.mkdtemp(prefix="doorbuster-pooler-"))
    configuration, users = home / "pgbouncer.ini", home / "users.txt"
    users.write_text(f'"{server.username}" "{server.password}"\n')
    configuration.write_text(
        "[databases]\n"
        f"* = host={server.hostname} port={server.port}\n"
        "[pgbouncer]\n"
        f"listen_addr = {LOOPBACK}\nlisten_port = {port}\nunix_socket_dir =\nlogfile = {home}/log\n"
        f"auth_type = scram-sha-256\nauth_file = {users}\n"
        f"pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\nignore_startup_parameters = {ignored}\n"
    )
    # It does not run as root.
    account = unprivileged_account(home)
    if account:
        for path in (home, configuration, users):
            os.chown(path, account.uid, account.gid)
    process = subprocess.Popen([str(PGBOUNCER), "--quiet", str(configuration)], **(account.popen if account else {}))
    try:
        url = f"postgresql://{server.username}:{server.password}@{LOOPBACK}:{port}{server.path}"
        _wait_until_it_answers(process, url, home / "log")
        yield url
    finally:
        process.terminate()
        process.wait(STOP_SECONDS_MAX)
        shutil.rmtree(home)


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while (problem := _problem(url)) is not None:
        words = log.read_text() if log.exists() else ""
        assert process.poll() is None, f"PgBouncer did not start: {words}"
        assert time.monotonic() < end, f"PgBouncer does not answer: {problem}: {words}"
        time.sleep(0.05)


def _problem(url: str) -> str | None:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as why:
        return str(why)
    return None
