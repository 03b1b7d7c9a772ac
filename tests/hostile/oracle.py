"""What may never be answered, whatever was asked; and what a house may not look like afterwards.

`judge` looks at one answer, `Watch` at the processes: none has died, and none has grown.
"""

import json
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

MIB = 1024 * 1024
# What the servers below the application say to bytes that are no request of HTTP: it never heard of them.
SERVERS_OWN = frozenset({400, 408, 413, 414, 417, 431, 501, 505})
INTERNALS = re.compile(
    rb"Traceback \(most recent call last\)|File \"[^\"]*\.py\"|site-packages|psycopg|sqlalchemy|redis\.exceptions|"
    rb"werkzeug\.|WRONGTYPE|user_script|Internal Server Error",
    re.IGNORECASE,
)
# Growth after the warm-up that is no leak: caches fill, an allocator keeps for each thread what it was given once, and
# one password may be in the making, which takes 64 MiB.
GROWTH_SHARE_MAX = 0.25
GROWTH_BYTES_MAX = 64 * MIB


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of HTTP as it came over the wire; names of headers in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_of_the_application(self) -> bool:
        """The application writes its request's id on every answer; a server that understood no request does not."""
        return "x-request-id" in self.headers


def judge(method: str, target: str, answer: Answer) -> list[str]:
    """What is wrong with this answer to this request, in words; nothing is an empty list."""
    wrong = []
    if INTERNALS.search(answer.body):
        wrong.append(f"shows internals: {answer.body[:200]!r}")
    if not answer.is_of_the_application:
        if answer.status not in SERVERS_OWN:
            wrong.append(f"{answer.status} without the application")
        return wrong
    if answer.status >= 500 and answer.status != 503:
        wrong.append(f"{answer.status}")
    if answer.status == 503 and "retry-after" not in answer.headers:
        wrong.append("503 that says not when to come back")
    if answer.status >= 400 and method != "HEAD" and _is_api(target):
        wrong += _not_the_envelope(answer)
    return wrong


def _is_api(target: str) -> bool:
    return target.startswith("/api/") and not target.startswith("/api/docs")


def _not_the_envelope(answer: Answer) -> list[str]:
    try:
        body = json.loads(answer.body)
    except ValueError:
        return [f"{answer.status} that is no JSON: {answer.body[:100]!r}"]
    if not isinstance(body, dict):
        return [f"{answer.status} that is no object"]
    wanted = {"success": False, "statusCode": answer.status}
    wrong = [f"{name} is {body.get(name)!r}" for name, value in wanted.items() if body.get(name) != value]
    wrong += [f"{name} is no text" for name in ("code", "message") if not isinstance(body.get(name), str)]
    return wrong


@dataclass(slots=True)
class Noted:
    """What a run came to: how many cases of each kind, what they were answered, and every complaint with its case."""

    cases: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, outcome: str) -> None:
        with self._lock:
            self.cases[kind] = self.cases.get(kind, 0) + 1
            self.statuses[outcome] = self.statuses.get(outcome, 0) + 1

    def complain(self, kind: str, case: object, wrong: Iterable[str]) -> None:
        self.complaints += [f"{kind}: {each}; after {_short(case)}" for each in wrong]

    @property
    def total(self) -> int:
        return sum(self.cases.values())


def _short(case: object) -> str:
    text = repr(case)
    return text if len(text) <= 600 else f"{text[:600]}… ({len(text)} characters)"


@dataclass(frozen=True, slots=True)
class Growth:
    """One process: its resident memory after the warm-up and at the end, in bytes."""

    name: str
    before: int
    after: int

    @property
    def is_flat(self) -> bool:
        return self.after <= self.before * (1 + GROWTH_SHARE_MAX) + GROWTH_BYTES_MAX


class Watch:
    """The processes of a house, children too, as they are when the watch begins."""

    def __init__(self, roots: dict[str, int]) -> None:
        self._roots = roots
        self._seen = self._processes()
        self._before: dict[str, int] = {}

    def _processes(self) -> dict[int, tuple[str, psutil.Process]]:
        found = {}
        for name, pid in self._roots.items():
            try:
                root = psutil.Process(pid)
                for number, process in enumerate([root, *root.children(recursive=True)]):
                    found[process.pid] = (name if number == 0 else f"{name} {number}", process)
            except psutil.NoSuchProcess:
                continue
        return found

    def warm(self) -> None:
        """From now on nobody may grow by much."""
        self._before = self._memory()

    def died(self) -> list[str]:
        """Whoever was there and is not, and whoever stands in for them."""
        now = {pid: name for pid, (name, process) in self._processes().items() if _is_alive(process)}
        gone = [f"{name} (pid {pid}) died" for pid, (name, _) in self._seen.items() if pid not in now]
        return gone + [f"{name} (pid {pid}) is new" for pid, name in now.items() if pid not in self._seen]

    def growth(self) -> list[Growth]:
        """Each process since `warm`."""
        after = self._memory()
        return [Growth(name, before, after[name]) for name, before in self._before.items() if name in after]

    def _memory(self) -> dict[str, int]:
        memory = {}
        for name, process in self._seen.values():
            try:
                memory[name] = process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return memory


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
