"""supervisord: its configuration from the table of processes, its start, and the little that we say to it."""

import http.client
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client  # nosec B411 # who answers is our own child, on a socket that is ours alone
from collections.abc import Iterable, Sequence
from pathlib import Path

import supervisor.xmlrpc
from supervisor.states import ProcessStates

from ops.errors import OpsError
from ops.launch import STACK_MARK
from ops.processes import Process
from ops.state import DataDir, write_private

SOCKET_BYTES_MAX = 90  # the system's limit is 104 to 108, and supervisord binds a longer name for a moment
START_SECONDS_MAX = 30
POLL_SECONDS = 0.1
END_SECONDS_MAX = 60  # of one part; supervisord kills it when its grace is over
LOG_BYTES_MAX = "10MB"
LOG_BACKUPS = 3

SERVERS = "servers"
APPLICATION = "application"


class Supervisor:
    """One supervisord as our child, with all processes of a stack as its children."""

    def __init__(self, data_dir: DataDir, processes: Iterable[Process], environment: dict[str, str]) -> None:
        """`environment` is what every process gets; no part of it is written to the configuration."""
        self.data_dir = data_dir
        self.processes = tuple(processes)
        self.environment = environment
        self.socket = _socket_path(data_dir)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start supervisord with the servers, and return when it answers; raises OpsError."""
        write_private(self.data_dir.supervisor_configuration, self.configuration())
        self.socket.unlink(missing_ok=True)
        command = ["-m", "supervisor.supervisord", "-n", "-c", str(self.data_dir.supervisor_configuration)]
        with self.data_dir.log("supervisord-output").open("wb") as output:
            self.process = subprocess.Popen(
                # A session of its own: a signal to our process group reaches us, and we stop everything in order.
                [sys.executable, "-m", "ops.launch", "SIGTERM", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise OpsError(f"the supervisor did not start: see {self.data_dir.log('supervisord-output')}")
            time.sleep(POLL_SECONDS)

    def start_application(self) -> None:
        """Start everything that is not a server; from now on supervisord keeps it alive."""
        self._call("startProcessGroup", APPLICATION, False)  # noqa: FBT003 - XML-RPC knows no names: do not wait

    def process_ids(self) -> dict[str, int]:
        """The process id of everything that runs now, by name; raises OpsError if supervisord does not answer."""
        told = self._call("getAllProcessInfo")
        return {str(entry["name"]): int(entry["pid"]) for entry in told if entry["pid"]}

    def restart(self, names: Sequence[str]) -> None:
        """Stop these parts of the application together, as each wishes, then start each in turn when it has ended.

        What is dead already is started all the same. Raises OpsError.
        """
        for name in names:
            self._ask("stopProcess", name)
        for name in names:
            deadline = time.monotonic() + END_SECONDS_MAX
            while self._is_stopping(name):
                if time.monotonic() > deadline:
                    raise OpsError(f"{name} does not end: see {self.data_dir.log(name)}")
                time.sleep(POLL_SECONDS)
            self._ask("startProcess", name)

    def stop(self) -> None:
        """Ask supervisord to stop everything, the application first. It needs as long as the slowest takes; `wait`."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait(self, seconds_max: float | None = None) -> int:
        """Wait for supervisord's end and return its exit status; raises subprocess.TimeoutExpired."""
        if self.process is None:
            return 0
        status = self.process.wait(seconds_max)
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.data_dir.path:
            self.socket.parent.rmdir()
        return status

    def configuration(self) -> str:
        """The text of supervisord.conf."""
        sections = [
            _section("supervisord", {
                "logfile": self.data_dir.log("supervisord"),
                "logfile_maxbytes": LOG_BYTES_MAX,
                "logfile_backups": LOG_BACKUPS,
                "pidfile": self.data_dir.path / "supervisord.pid",
                "childlogdir": self.data_dir.logs,
                "nodaemon": "true",
                "silent": "true",
                "strip_ansi": "true",  # what is red on a terminal is noise in a file
                "minprocs": 64,
            } | ({"user": "root"} if os.geteuid() == 0 else {})),
            _section("unix_http_server", {"file": self.socket, "chmod": "0700"}),
            _section("supervisorctl", {"serverurl": f"unix://{self.socket}"}),
            _section("rpcinterface:supervisor", {
                "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface",
            }),
        ]  # fmt: skip
        groups: dict[str, list[str]] = {SERVERS: [], APPLICATION: []}
        for process in self.processes:
            for name, command in process.programs.items():
                groups[SERVERS if process.is_server else APPLICATION].append(name)
                sections.append(_section(f"program:{name}", self._program(process, name, command)))
        # supervisord stops one group after the other, the highest priority first.
        for priority, (group, names) in enumerate(groups.items(), start=1):
            if names:
                sections.append(_section(f"group:{group}", {"programs": ",".join(names), "priority": priority}))
        return "\n".join(sections)

    def _environment(self) -> dict[str, str]:
        """Ours and the stack's, with its mark, and without what another supervisord above us may have put there."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
        return inherited | self.environment | {STACK_MARK: str(self.data_dir.path), "PYTHONUNBUFFERED": "1"}

    def _program(self, process: Process, name: str, command: list[str]) -> dict[str, object]:
        launcher = [] if process.is_server else ["-m", "ops.launch", process.stop_signal.name]
        settings: dict[str, object] = {
            "command": shlex.join([sys.executable, *launcher, *command]),
            "directory": Path.cwd(),
            "autostart": str(process.is_server).lower(),
            "autorestart": "true",
            # With 0, a death is never "too quick": the next start follows within about a second, for ever. Anything
            # else makes supervisord wait longer after every try, and in the end give up.
            "startsecs": 0,
            "startretries": 1_000_000,
            "stopsignal": process.stop_signal.name.removeprefix("SIG"),
            "stopwaitsecs": process.grace_seconds,
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": self.data_dir.log(name),
            "stdout_logfile_maxbytes": LOG_BYTES_MAX,
            "stdout_logfile_backups": LOG_BACKUPS,
        }
        if process.environment:
            settings["environment"] = ",".join(f'{key}="{value}"' for key, value in process.environment)
        return settings

    def _answers(self) -> bool:
        try:
            self._call("getState")
        except OpsError:
            return False
        return True

    def _is_stopping(self, name: str) -> bool:
        told = self._call("getAllProcessInfo")
        return any(entry["name"] == name and entry["state"] == ProcessStates.STOPPING for entry in told)

    def _ask(self, method: str, name: str) -> None:
        """Ask for what may be so already: a part that cannot live is dead at one moment and alive at the next."""
        try:
            self._call(method, f"{APPLICATION}:{name}", False)  # noqa: FBT003 - as above: do not wait
        except OpsError as why:
            if not isinstance(why.__cause__, xmlrpc.client.Fault):
                raise

    def _call(self, method: str, *arguments: object) -> list[dict[str, str | int]]:
        transport = supervisor.xmlrpc.SupervisorTransport(serverurl=f"unix://{self.socket}")
        proxy = xmlrpc.client.ServerProxy("http://supervisor", transport=transport)
        try:
            answer: list[dict[str, str | int]] = getattr(proxy.supervisor, method)(*arguments)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as why:
            raise OpsError(f"the supervisor does not answer: {why}") from why
        finally:
            transport.close()
        return answer


def _socket_path(data_dir: DataDir) -> Path:
    """In DATA_DIR if its name is short enough for a socket, else in a directory of our own under /tmp."""
    path = data_dir.path / "supervisor.sock"
    if len(os.fsencode(path)) <= SOCKET_BYTES_MAX:
        return path
    return Path(tempfile.mkdtemp(prefix="doorbuster-", dir="/tmp")) / "supervisor.sock"


def _section(title: str, settings: dict[str, object]) -> str:
    """One section; supervisord expands `%`, so every one of ours is doubled."""
    lines = [f"{name}={str(value).replace('%', '%%')}" for name, value in settings.items()]
    return "\n".join([f"[{title}]", *lines, ""])
