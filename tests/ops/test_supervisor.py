"""What the supervisor is told, and what it does when a part dies: for real, with small parts."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from models.settings import Settings
from ops.launch import STACK_MARK, end_stack_processes
from ops.processes import POSTGRES, REDIS, Process, application
from ops.state import DataDir
from ops.supervisor import Supervisor

WAIT_SECONDS_MAX = 120
STOP_SECONDS_MAX = 120

# A part that works like granian: a parent, and a child that holds the port and does not notice when the parent dies.
PARENT_AND_CHILD = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.set_inheritable(listener.fileno(), True)
if os.fork() == 0:
    time.sleep(600)
time.sleep(600)
"""
SLEEP = "import time; time.sleep(600)"
DIE = "raise SystemExit(1)"


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def supervisor(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.chdir(Path(__file__).parents[2])  # where `make run` runs, and where `ops` is found
    data_dir = DataDir.at(tmp_path / "data")
    data_dir.create()
    shop = tmp_path / "shop.py"
    shop.write_text(PARENT_AND_CHILD)
    parts = (
        Process(name="server", argv=("-c", SLEEP), is_server=True),
        Process(name="shop", argv=(str(shop), str(port))),
        Process(name="hopeless", argv=("-c", DIE)),
        Process(name="clerk", argv=("-c", SLEEP, "{number}"), count=2),
    )
    supervisor = Supervisor(data_dir, parts, {"SECRET": "not-for-files"})
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        try:
            supervisor.wait(STOP_SECONDS_MAX)
        finally:
            # Such as the shop's child, where the shop itself had to be killed.
            end_stack_processes(str(data_dir.path))


def process_id_after(supervisor: Supervisor, name: str, former: int = 0) -> int:
    """The process id of a part once it runs and is not `former` any more."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        found = supervisor.process_ids().get(name, former)
        if found not in (0, former) and has_become_itself(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{name} did not come back")


def has_become_itself(process_id: int) -> bool:
    """Whether supervisord's fork and the launcher have made way for the part."""
    try:
        command = psutil.Process(process_id).cmdline()
        return bool(command) and not {"ops.launch", "supervisor.supervisord"} & set(command)
    except psutil.NoSuchProcess:
        return False


def test_servers_start_alone_and_the_application_when_it_is_told_to(supervisor: Supervisor) -> None:
    before = set(supervisor.process_ids())

    supervisor.start_application()

    assert before == {"server"}
    for name in ("shop", "clerk-1", "clerk-2"):
        process_id_after(supervisor, name)


def test_a_part_that_is_killed_comes_back_even_if_its_child_still_holds_the_port(
    supervisor: Supervisor, port: int
) -> None:
    supervisor.start_application()
    first = process_id_after(supervisor, "shop")
    children = wait_for_children(first)

    os.kill(first, signal.SIGKILL)
    second = process_id_after(supervisor, "shop", former=first)

    assert wait_for_children(second)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS_MAX).close()


def test_a_part_that_cannot_live_is_tried_again_and_again(supervisor: Supervisor) -> None:
    supervisor.start_application()
    tries = set()
    deadline = time.monotonic() + WAIT_SECONDS_MAX

    while len(tries) < 5 and time.monotonic() < deadline:
        tries.add(supervisor.process_ids().get("hopeless"))
        time.sleep(0.05)

    assert len(tries - {None}) >= 4


def test_parts_that_are_restarted_are_new_ones_dead_or_alive_and_the_others_stay(supervisor: Supervisor) -> None:
    supervisor.start_application()
    names = ("shop", "clerk-1", "clerk-2", "server")
    before = {name: process_id_after(supervisor, name) for name in names}

    # One of them cannot live: it is dead at one moment and alive at the next, and comes through both.
    for _ in range(5):
        supervisor.restart(("shop", "hopeless", "clerk-1"))

    after = supervisor.process_ids()
    assert {name for name in names if after[name] != before[name]} == {"shop", "clerk-1"}
    process_id_after(supervisor, "hopeless", former=after.get("hopeless", 0))


def test_nothing_is_left_when_the_supervisor_itself_is_killed(supervisor: Supervisor) -> None:
    supervisor.start_application()
    # Servers follow the supervisor through ops.serve; the test of `make run` sees to those.
    parts = [psutil.Process(process_id_after(supervisor, name)) for name in ("shop", "clerk-1", "clerk-2")]
    server = process_id_after(supervisor, "server")
    assert supervisor.process is not None

    supervisor.process.kill()

    _, alive = psutil.wait_procs(parts, timeout=WAIT_SECONDS_MAX)
    assert alive == []
    os.kill(server, signal.SIGKILL)
    end_stack_processes(str(supervisor.data_dir.path))  # the shop's child, which the next start of a real stack ends


def test_secrets_are_in_the_environment_of_the_parts_and_in_no_file(supervisor: Supervisor) -> None:
    environment = psutil.Process(process_id_after(supervisor, "server")).environ()
    written = supervisor.data_dir.supervisor_configuration.read_text()

    assert environment["SECRET"] == "not-for-files"
    assert environment[STACK_MARK] == str(supervisor.data_dir.path)
    assert "not-for-files" not in written


def test_a_data_dir_too_deep_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    data_dir = DataDir.at(tmp_path / ("deep" * 30))
    data_dir.create()
    supervisor = Supervisor(data_dir, (Process(name="server", argv=("-c", SLEEP), is_server=True),), {})

    supervisor.start()
    running = supervisor.process_ids()
    supervisor.stop()
    supervisor.wait(STOP_SECONDS_MAX)

    assert set(running) == {"server"}
    assert not supervisor.socket.parent.exists()


def test_the_application_is_stopped_before_the_servers(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, settle_workers=2)  # type: ignore[call-arg]
    told = Supervisor(DataDir.at(tmp_path), (POSTGRES, REDIS, *application(settings)), {}).configuration()

    groups = told[told.index("[group:") :]

    assert "[group:servers]\nprograms=postgres,redis\npriority=1" in groups
    assert "[group:application]\nprograms=web,live,worker-1,worker-2,chores,beat,flower\npriority=2" in groups


def test_nothing_listens_beyond_loopback_unless_told_to() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    commands = {process.name: " ".join(process.command(1)) for process in application(settings)}

    assert "--host 127.0.0.1 --port 8000" in commands["web"]
    assert "--bind 127.0.0.1:8001" in commands["live"]
    assert "--address=127.0.0.1 --port=5555" in commands["flower"]


def test_no_command_line_carries_a_password() -> None:
    secret = "x" * 40
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        jwt_secret_key=secret,
        flower_basic_auth=f"admin:{secret}",
        redis_url=f"redis://:{secret}@127.0.0.1/0",
        database_url=f"postgresql://u:{secret}@127.0.0.1/d",
    )

    assert not any(secret in word for process in application(settings) for word in process.command(1))


def test_the_interpreter_of_the_parts_is_our_own(tmp_path: Path) -> None:
    told = Supervisor(DataDir.at(tmp_path), (POSTGRES,), {}).configuration()

    assert f"command={sys.executable} -m ops.serve postgres" in told


def wait_for_children(process_id: int) -> list[psutil.Process]:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        if children := psutil.Process(process_id).children():
            return children
        time.sleep(0.05)
    raise AssertionError(f"process {process_id} has no children")
