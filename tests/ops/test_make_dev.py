"""`make dev` itself: what is saved in an editor is what the shop answers, also after it was broken for a while."""

import http.client
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import psutil
import pytest
import watchfiles

from models.settings import Settings
from ops.errors import OpsError
from ops.processes import POSTGRES, REDIS, application
from ops.reload import FOLDERS, Reloader
from ops.state import DataDir
from ops.supervisor import Supervisor
from ops.terminal import say
from tests.ops.checkout import ANSWER_SECONDS_MAX, Stack, stack_in_a_copy, wait_until

ANEW_SECONDS_MAX = 120
OURS = {"web", "live", "worker", "chores", "beat"}
THEIRS = {"postgres", "redis", "flower"}
SOURCES = {"web/desk/home.py", "web/page.html", "worker/clerk.py", "models/gate.lua", "wsgi.py", "gunicorn.conf.py"}
NO_SOURCES = {"web/page.css", "web/.page.py.swp", "web/.#page.py", "models/gate.pyc", "data/worker.py", "setup.py"}


@pytest.fixture
def reloader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reloader:
    """Of a checkout of empty files, and with nothing to restart but a list of names."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    supervisor = Supervisor(DataDir.at(tmp_path / "data"), (POSTGRES, REDIS, *application(settings)), {})
    monkeypatch.setattr(supervisor, "restart", lambda names: say(f"RESTARTED {' '.join(names)}"))
    for name in (*FOLDERS, "web/desk", "data"):
        (tmp_path / name).mkdir()
    return Reloader(supervisor, settings, tmp_path)


def test_every_source_is_heard_when_it_is_saved_and_nothing_else(reloader: Reloader) -> None:
    stop = Event()
    threads = reloader.listen(stop)
    heard: set[str] = set()

    def is_all_heard() -> bool:
        for name in NO_SOURCES | SOURCES:  # again each time, since the watch needs a moment to begin
            save(reloader.root / name)
        while not reloader.heard.empty():
            changes = reloader.heard.get()
            assert not isinstance(changes, Exception)
            heard.update(str(Path(path).relative_to(reloader.root)) for _, path in changes)
        return heard >= SOURCES

    try:
        wait_until(is_all_heard, ANEW_SECONDS_MAX, pause_seconds=0.5)
    finally:
        stop.set()
        for thread in threads:
            thread.join(ANEW_SECONDS_MAX)

    assert heard == SOURCES
    assert not any(thread.is_alive() for thread in threads)


def test_what_changed_between_two_looks_is_one_restart_in_the_order_of_the_parts(
    reloader: Reloader, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [reloader.root / "models" / f"{number}.py" for number in range(3)]
    files[1].write_text("def broken(:\n")
    for file in (*files, files[0]):
        reloader.heard.put({(watchfiles.Change.modified, str(file))})

    assert reloader.look()
    assert not reloader.look()

    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(" models/0.py and 2 more changed: the shop's processes start anew")
    assert " models/1.py is broken, and what loads it will not start: " in said[1]
    assert said[2:] == ["RESTARTED web live worker chores beat"]


def test_a_system_that_lets_nobody_watch_is_told_so(reloader: Reloader) -> None:
    reloader.heard.put(OSError("OS file watch limit reached"))

    with pytest.raises(OpsError, match="the sources cannot be watched: OS file watch limit reached"):
        reloader.look()


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Not in `tmp_path`: with the name of the test in it, it would be too long for the supervisor's socket.
    with stack_in_a_copy(tmp_path_factory.mktemp("checkout")) as stack:
        yield stack


@pytest.mark.timeout(900)
def test_what_is_saved_is_what_the_shop_answers(stack: Stack) -> None:
    """One story: a start takes longer than everything that comes after it."""
    stack.start("dev")
    before = stack.supervisor.process_ids()

    a_template_that_is_changed_is_shown(stack)
    the_shops_own_processes_started_anew_and_no_other(stack, before)
    a_file_that_is_broken_is_named_and_ends_nothing(stack)
    mended_it_is_served_again(stack)
    nothing_is_left_after_a_stop(stack)


def a_template_that_is_changed_is_shown(stack: Stack) -> None:
    template = stack.checkout / "web/templates/base.html"
    template.write_text(f"{template.read_text()}<!-- changed -->\n")

    wait_until(lambda: stack.said.count("web and live answer again") == 1, ANEW_SECONDS_MAX)
    assert "<!-- changed -->" in page(stack)
    assert "web/templates/base.html changed: the shop's processes start anew" in stack.said


def the_shops_own_processes_started_anew_and_no_other(stack: Stack, before: dict[str, int]) -> None:
    after = stack.supervisor.process_ids()

    assert set(after) == OURS | THEIRS
    assert {name for name, process_id in after.items() if process_id != before[name]} == OURS
    assert "died" not in stack.said


def a_file_that_is_broken_is_named_and_ends_nothing(stack: Stack) -> None:
    source = stack.checkout / "models/settings.py"
    source.write_text(f"{source.read_text()}def broken(:\n")

    wait_until(lambda: "models/settings.py is broken" in stack.said, ANEW_SECONDS_MAX)
    # Of web the supervisor may not hear on a slow machine: its server tries a worker again by itself.
    tried = [f"{name} died and was started again" for name in OURS - {"web"}]
    wait_until(lambda: all(line in stack.said for line in tried), ANEW_SECONDS_MAX)
    assert page(stack) == ""
    assert not stack.ended


def mended_it_is_served_again(stack: Stack) -> None:
    source = stack.checkout / "models/settings.py"
    source.write_text(source.read_text().removesuffix("def broken(:\n"))

    wait_until(lambda: stack.said.count("web and live answer again") == 2, ANEW_SECONDS_MAX)
    assert "<!-- changed -->" in page(stack)
    assert set(stack.supervisor.process_ids()) == OURS | THEIRS


def nothing_is_left_after_a_stop(stack: Stack) -> None:
    processes = stack.processes()

    stack.stop(signal.SIGTERM)

    _, alive = psutil.wait_procs(processes, timeout=ANEW_SECONDS_MAX)
    assert alive == []
    assert "Traceback" not in stack.said
    assert not stack.data_dir.stack.exists()


def save(file: Path) -> None:
    """As many editors do: a new file takes the place of the old one."""
    written = file.with_name(f"{file.name}~")
    written.write_text("")
    written.replace(file)


def page(stack: Stack) -> str:
    """What is shown to a visitor; nothing if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(stack.ports["PORT"]), timeout=ANSWER_SECONDS_MAX)
    try:
        connection.request("GET", "/login")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
