"""What is wrong before anything runs is one line that says what to do, and status 1."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from models.settings import Settings
from ops import boot
from ops.checks import check_ports
from ops.errors import OpsError
from ops.ports import EMBEDDED_PORT_FIRST, EMBEDDED_PORT_LAST, free_port, free_ports
from ops.processes import Process
from ops.reset import reset
from ops.stack import running_environment, running_stack, write_stack
from ops.state import DataDir, Secrets
from ops.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
RUN_SECONDS_MAX = 240


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir.at(tmp_path / "data")
    data_dir.create()
    return data_dir


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        yield listener.getsockname()[1]


def run_make_run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m ops`, as make starts it, from a directory without a `.env`, with free ports unless told otherwise."""
    ports = dict(zip(("PORT", "LIVE_PORT", "FLOWER_PORT"), map(str, free_ports(3)), strict=True))
    place = {"DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "ops", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | ports | place | environment,
        timeout=RUN_SECONDS_MAX,
    )


def test_a_port_in_use_is_told_with_its_setting_and_a_way_out(tmp_path: Path, taken_port: int) -> None:
    done = run_make_run(tmp_path, PORT=str(taken_port))

    assert done.returncode == 1
    assert done.stderr == (
        f"doorbuster: PORT {taken_port} is in use on 127.0.0.1: stop what listens there or choose another, "
        f"e.g. PORT={taken_port + 10} make run\n"
    )


def test_a_broken_env_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=8000\nnonsense here\n")

    done = run_make_run(tmp_path)

    assert done.returncode == 1
    assert done.stderr == ("doorbuster: .env line 2 is not NAME=value: 'nonsense here'; mend or remove the line\n")


def test_a_wrong_setting_is_told_by_its_name(tmp_path: Path) -> None:
    done = run_make_run(tmp_path, WEB_WORKERS="none")

    assert done.returncode == 1
    assert done.stderr.startswith("doorbuster: WEB_WORKERS: ")
    assert done.stderr.count("\n") == 1


def test_a_second_stack_on_the_same_data_is_refused(tmp_path: Path, data_dir: DataDir) -> None:
    with data_dir.locked():
        done = run_make_run(tmp_path)

    assert done.returncode == 1
    assert done.stderr == (
        f"doorbuster: a stack runs already in {data_dir.path}: stop it first (Ctrl-C), "
        "or start a second one with its own DATA_DIR and ports\n"
    )


@pytest.mark.parametrize(
    ("name", "url"),
    [("DATABASE_URL", "mysql://shop:secret-one@db/shop"), ("REDIS_URL", "http://:secret-one@cache")],
)
def test_an_address_that_cannot_be_understood_is_told_without_its_password(tmp_path: Path, name: str, url: str) -> None:
    done = run_make_run(tmp_path, **{name: url})

    assert done.returncode == 1
    assert done.stderr.startswith(f"doorbuster: {name}: write it as ")
    assert "secret-one" not in done.stderr + done.stdout


def test_a_server_that_does_not_answer_is_told_by_the_setting_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "GIVEN_SECONDS_MAX", 1)
    settings = Settings(_env_file=None, redis_url=f"redis://:secret-one@127.0.0.1:{free_port()}/0")  # type: ignore[call-arg]
    nothing_of_ours = Supervisor(DataDir.at(tmp_path), (), {})
    monkeypatch.setattr(nothing_of_ours, "process_ids", dict)
    start = boot.Boot(nothing_of_ours, settings, DataDir.at(tmp_path), {})

    with pytest.raises(OpsError, match=r"redis is not ready after 1 s .*: is REDIS_URL right\?") as caught:
        start.wait_for("redis", start.redis_problem, 60)

    assert "secret-one" not in str(caught.value)


def test_a_part_that_cannot_live_ends_the_start_unless_somebody_is_about_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(boot, "POLL_SECONDS", 0)
    data_dir = DataDir.at(tmp_path)
    supervisor = Supervisor(data_dir, (Process(name="web", argv=()),), {})
    lives, looks = count(1), count(1)
    monkeypatch.setattr(supervisor, "process_ids", lambda: {"web": next(lives)})
    settings = Settings(_env_file=None)  # type: ignore[call-arg]

    with pytest.raises(OpsError, match=r"web dies again and again: see .*web\.log"):
        boot.Boot(supervisor, settings, data_dir, {}).wait_for("web", lambda: "closed", 60)
    patient = boot.Boot(supervisor, settings, data_dir, {}, gives_up=False)
    patient.wait_for("web", lambda: "closed" if next(looks) < 20 else None, 60)

    assert capsys.readouterr().out.count("web dies again and again") == 1


def test_only_a_developer_needs_the_library_that_watches_files(tmp_path: Path) -> None:
    (tmp_path / "watchfiles.py").write_text("raise ModuleNotFoundError(name='watchfiles')")

    done = run_make_run(tmp_path, "--reload")

    assert done.returncode == 1
    assert done.stderr == "doorbuster: there is no watchfiles here: start with `make dev`, which installs it\n"


def test_a_migration_that_fails_is_told_with_its_log(tmp_path: Path, data_dir: DataDir) -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    start = boot.Boot(Supervisor(data_dir, (), {}), settings, data_dir, dict(os.environ))
    failing = Process(name="migrate", argv=("-c", "import sys; sys.exit('the tables are not what they were')"))

    with pytest.raises(OpsError, match=r"the migration failed: see .*migrate\.log"):
        start.do(failing, "the migration failed")

    assert data_dir.log("migrate").read_text() == "the tables are not what they were\n"


def test_a_data_dir_that_cannot_be_made_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")

    done = run_make_run(tmp_path, DATA_DIR=str(tmp_path / "file" / "data"))

    assert done.returncode == 1
    assert done.stderr.startswith("doorbuster: cannot write to ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param({"port": 9000, "live_port": 9000}, "must differ", id="the same port twice"),
        pytest.param({"host": "203.0.113.7"}, "not an address of this machine", id="an address of another machine"),
        pytest.param({"host": "no.such.host.invalid"}, "not an address of this machine", id="no address at all"),
    ],
)
def test_ports_that_cannot_be_taken_are_told_in_words(settings: dict[str, object], told: str) -> None:
    free = dict(zip(("port", "live_port", "flower_port"), free_ports(3), strict=True))

    with pytest.raises(OpsError, match=told):
        check_ports(Settings(_env_file=None, **(free | settings)))  # type: ignore[call-arg, arg-type]


def test_an_embedded_server_listens_below_the_ports_that_the_system_hands_out() -> None:
    assert all(EMBEDDED_PORT_FIRST <= free_port() < EMBEDDED_PORT_LAST for _ in range(5))


def test_a_port_of_the_last_run_is_kept_while_it_is_free(taken_port: int) -> None:
    free = free_port()

    assert free_port(preferred=free) == free
    assert free_port(preferred=taken_port) != taken_port


def test_secrets_are_made_once_and_only_their_owner_reads_them(data_dir: DataDir) -> None:
    first = Secrets.load_or_make(data_dir)
    second = Secrets.load_or_make(data_dir)

    assert first == second == Secrets.load(data_dir)
    assert len(first.jwt_secret_key) >= 32
    assert stat.S_IMODE(data_dir.secrets.stat().st_mode) == 0o600


def test_damaged_secrets_are_told_with_a_way_out(data_dir: DataDir) -> None:
    data_dir.secrets.write_text("{")

    with pytest.raises(OpsError, match="make reset"):
        Secrets.load_or_make(data_dir)


def test_the_running_stack_is_found_by_its_data_dir(data_dir: DataDir) -> None:
    write_stack(data_dir, {"PORT": "9000", "REDIS_URL": "redis://:x@127.0.0.1:1/0", "DATA_DIR": str(data_dir.path)})

    with data_dir.locked():
        found = running_stack(data_dir.path)

    assert (found.port, found.redis_url) == (9000, "redis://:x@127.0.0.1:1/0")
    assert stat.S_IMODE(data_dir.stack.stat().st_mode) == 0o600


def test_a_stack_that_does_not_run_is_told_so_in_one_line(data_dir: DataDir) -> None:
    data_dir.stack.write_text(json.dumps({"PORT": "9000"}))  # left behind by a run that was killed

    with pytest.raises(OpsError, match=r"no stack runs in .*: start one with `make run`"):
        running_environment(data_dir.path)


def test_reset_removes_what_the_stack_keeps_and_nothing_else(data_dir: DataDir) -> None:
    Secrets.load_or_make(data_dir)
    (data_dir.postgres / "pg18").mkdir(parents=True)
    (data_dir.path / "holiday.jpg").write_text("not ours")

    reset(data_dir)

    assert [path.name for path in data_dir.path.iterdir()] == ["holiday.jpg"]


def test_reset_removes_the_directory_when_nothing_else_is_in_it(data_dir: DataDir) -> None:
    Secrets.load_or_make(data_dir)

    reset(data_dir)

    assert not data_dir.path.exists()


def test_a_running_stack_is_not_reset(data_dir: DataDir) -> None:
    Secrets.load_or_make(data_dir)

    with data_dir.locked(), pytest.raises(OpsError, match="runs already"):
        reset(data_dir)

    assert data_dir.secrets.exists()
