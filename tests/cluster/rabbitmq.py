"""A RabbitMQ of a test's own: Debian's, on free ports, in a temporary folder that goes with it."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from amqp import Connection
from amqp.exceptions import AMQPError

from ops.accounts import Account
from ops.ports import LOOPBACK, free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS_MAX = 240
GUEST = "guest"


def rabbitmq_or_skip() -> None:
    """Skip the test where Debian's RabbitMQ is not installed; with REQUIRE_RABBITMQ=1 that is an error."""
    if SERVER.exists() and shutil.which("epmd"):
        return
    if os.environ.get("REQUIRE_RABBITMQ") == "1":
        pytest.fail("there is no rabbitmq-server: make rabbitmq installs it")
    pytest.skip("there is no rabbitmq-server (make rabbitmq installs it): the tests of RabbitMQ do not run")


class RabbitMQ:
    """One node with a name, a cookie and a name server of its own, so that it meets no other on this machine."""

    def __init__(self, home: Path, account: Account | None) -> None:
        self.port = free_port()
        self._home = home
        self._account = account
        self._epmd_port = free_port(taken=[self.port])
        self._cookie = secrets.token_hex(16)
        self._name = f"doorbuster{self.port}@localhost"
        self._dist_port = free_port(taken=[self.port, self._epmd_port])
        self._names: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://{GUEST}:{GUEST}@{LOOPBACK}:{self.port}//"

    def start(self) -> "RabbitMQ":
        """Start the node on what it wrote in its former life, and return when somebody can log in."""
        if self._names is None:
            # Otherwise the node starts one, which outlives it.
            self._names = self._popen("names", ["epmd", "-address", LOOPBACK, "-port", str(self._epmd_port)])
        self._node = self._popen("node", [str(SERVER)])
        end = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            assert self._node.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.2)
        return self

    def kill(self) -> None:
        """kill -9 of the node and of whatever it started."""
        if self._node is not None:
            _end(self._node)
            self._node = None

    def end(self) -> None:
        self.kill()
        if self._names is not None:
            _end(self._names)
            self._names = None

    def log(self) -> str:
        return (self._home / "node.log").read_text()[-3000:]

    def connection(self) -> Connection:
        """A connection of a test's own; close it. Raises what amqp raises, and OSError."""
        made = Connection(f"{LOOPBACK}:{self.port}", GUEST, GUEST, connect_timeout=2, read_timeout=20, write_timeout=20)
        made.connect()
        return made

    def _answers(self) -> bool:
        try:
            self.connection().close()
        except (OSError, AMQPError):
            return False
        return True

    def _popen(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self._home / "mnesia"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self._home),
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self._home / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-setcookie {self._cookie} +S 2:2",
        }
        with (self._home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **(self._account.popen if self._account else {}),
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@contextmanager
def rabbitmq() -> Iterator[RabbitMQ]:
    """A running RabbitMQ, which the caller may `kill()` and `start()` again: same port, same data."""
    home = Path(tempfile.mkdtemp(prefix="doorbuster-rabbitmq-"))
    account = None
    if os.geteuid() == 0:
        # Debian's package makes this account, and its scripts insist on it.
        entry = pwd.getpwnam("rabbitmq")
        account = Account(entry.pw_uid, entry.pw_gid)
        os.chown(home, *account)
    # Nothing is written to a disk that is nearly full: the test is of other things.
    (home / "rabbitmq.conf").write_text("disk_free_limit.absolute = 1MB\nvm_memory_high_watermark.absolute = 512MB\n")
    (home / "plugins").write_text("[].\n")
    server = RabbitMQ(home, account)
    try:
        yield server.start()
    finally:
        server.end()
        shutil.rmtree(home, ignore_errors=True)
