"""`make dev`: the shop's own processes start anew when a source of theirs changes.

    watchfiles, in threads -> what changed, in a queue -> ops.watch, between two looks -> the supervisor

The servers stay, and so does Flower, which only shows what Celery tells it. What cannot start is tried again about once
a second (`startsecs` in ops/supervisor.py), and never less often: whoever mends it does not wait for it. What stands
beside these sources (a migration, `.env`, ops itself) takes a new `make dev`; the pages' styles and scripts take
nothing, since every request reads them anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread

import watchfiles

from models.clock import now
from models.settings import Settings
from ops.boot import http_problem, loopback_url
from ops.errors import OpsError
from ops.supervisor import Supervisor
from ops.terminal import say

FOLDERS = ("web", "worker", "models")
SUFFIXES = (".py", ".html", ".lua")
FILES = ("celeryconfig.py", "wsgi.py", "gunicorn.conf.py")
LEFT_ALONE = "flower"
QUIET_MS = 200  # an editor saves in several steps, and a checkout writes many files: one restart for all of them
STOP_SECONDS_MAX = 5

Change = tuple[watchfiles.Change, str]


class Reloader:
    """What changed, until somebody looks, and what is then done about it."""

    def __init__(self, supervisor: Supervisor, settings: Settings, root: Path) -> None:
        """`root` is the checkout that the processes run in."""
        self.supervisor = supervisor
        self.root = root
        self.parts = [
            name
            for process in supervisor.processes
            if not process.is_server and process.name != LEFT_ALONE
            for name in process.programs
        ]
        ports = (settings.port, settings.live_port)
        self.urls = [f"{loopback_url(settings.host, port)}/readyz" for port in ports]
        self.is_closed = False  # the door, since the last restart
        self.heard: SimpleQueue[set[Change] | Exception] = SimpleQueue()

    def look(self) -> bool:
        """Start the parts anew if something changed since the last look; returns whether it did. Raises OpsError."""
        if changed := self._changed():
            self._restart(changed)
            return True
        if self.is_closed and all(http_problem(url) is None for url in self.urls):
            self.is_closed = False
            say(f"{now():%H:%M:%S} web and live answer again")
        return False

    def listen(self, stop: Event) -> list[Thread]:
        """Start the threads that put what changes into `heard` until `stop` is set, and return them."""
        changes_of = partial(watchfiles.watch, step=QUIET_MS, stop_event=stop, raise_interrupt=False)
        folders = [self.root / name for name in FOLDERS]
        sources = (
            changes_of(*folders, watch_filter=_Sources()),
            # Not each file by itself: an editor puts a new one in its place, which nobody would watch.
            changes_of(self.root, watch_filter=_is_top_level, recursive=False),
        )
        threads = [Thread(target=self._hear, args=(changes,), name="reload", daemon=True) for changes in sources]
        for thread in threads:
            thread.start()
        return threads

    def _hear(self, source: Iterator[set[Change]]) -> None:
        try:
            for changes in source:
                self.heard.put(changes)
        except (OSError, RuntimeError) as why:  # such as the system's limit of watches, or a folder that is gone
            self.heard.put(why)

    def _changed(self) -> list[Path]:
        """The files that changed since this was asked last, each once and in order."""
        found: set[Path] = set()
        while True:
            try:
                heard = self.heard.get_nowait()
            except Empty:
                return sorted(found)
            if isinstance(heard, Exception):
                raise OpsError(f"the sources cannot be watched: {heard}") from heard
            found |= {Path(path) for _, path in heard}

    def _restart(self, changed: list[Path]) -> None:
        names = [str(file.relative_to(self.root)) for file in changed]
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"{now():%H:%M:%S} {names[0]}{others} changed: the shop's processes start anew")
        for name, file in zip(names, changed, strict=True):
            if (problem := _problem(file)) is not None:
                say(f"{now():%H:%M:%S} {name} is broken, and what loads it will not start: {problem}")
        try:
            self.supervisor.restart(self.parts)
        except OpsError as why:  # the supervisor may be on its way out, which ops.watch will see
            say(f"{now():%H:%M:%S} not everything started anew, the next change tries again: {why}")
        self.is_closed = True


@contextmanager
def reloading(supervisor: Supervisor, settings: Settings) -> Iterator[Callable[[], bool]]:
    """Watch the sources in the working directory meanwhile; gives the function to call between two looks."""
    reloader = Reloader(supervisor, settings, Path.cwd())
    stop = Event()
    threads = reloader.listen(stop)
    try:
        yield reloader.look
    finally:
        stop.set()
        for thread in threads:
            thread.join(STOP_SECONDS_MAX)


class _Sources(watchfiles.DefaultFilter):
    """Without what editors leave beside a file for a moment."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        return path.endswith(SUFFIXES) and super().__call__(change, path)


def _is_top_level(_: watchfiles.Change, path: str) -> bool:
    return Path(path).name in FILES


def _problem(file: Path) -> str | None:
    """Why Python cannot read this file at all; whatever else is wrong with it is in the logs."""
    if file.suffix != ".py":
        return None
    try:
        compile(file.read_bytes(), file, "exec", dont_inherit=True)
    except OSError:  # it was removed
        return None
    except (SyntaxError, ValueError) as why:  # the latter for a byte of zero
        return str(why)
    return None
