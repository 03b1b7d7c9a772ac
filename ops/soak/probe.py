"""What is measured every few seconds: of each process of the shop, and of both servers."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil
import psycopg
import redis

MIB = 1 << 20
STATEMENT_MS = 5_000

# A measure of a process: its name, and what it is counted in.
MEMORY, FILES, THREADS, CONNECTIONS = "memory", "files", "threads", "connections"
UNITS = {MEMORY: "MiB", FILES: "descriptors", THREADS: "threads", CONNECTIONS: "connections"}
# Of the servers: what a purchase leaves there for good is not flat, and is judged by the request.
KEPT = "kept"

# The size of the database, and who is connected to it.
POSTGRES = (
    "SELECT pg_database_size(current_database()), (SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL)"
)
# The rows that every accepted request that was settled leaves.
SETTLED = "SELECT coalesce(sum(settled_through), 0) FROM flash_sales"


@dataclass
class Samples:
    """Everything that was measured: for each (who, what) the values in order, at `at_seconds` since the beginning."""

    at_seconds: list[float] = field(default_factory=list)
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)

    def add(self, at_seconds: float, settled: int, values: Mapping[tuple[str, str], float]) -> None:
        self.at_seconds.append(at_seconds)
        self.settled.append(settled)
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)


class Probe:
    """Looks at processes with all of their children, and at the two servers from within."""

    def __init__(self, processes: Mapping[str, int], database_url: str, redis_url: str) -> None:
        self._roots = {name: psutil.Process(pid) for name, pid in processes.items()}
        options = f"-c statement_timeout={STATEMENT_MS}"
        self._database = psycopg.connect(database_url, autocommit=True, connect_timeout=5, options=options)
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=5)
        self._began = time.monotonic()

    def close(self) -> None:
        self._database.close()
        self._redis.close()

    def look(self, samples: Samples) -> None:
        """Add one look at everything; raises psutil.NoSuchProcess when a process of the shop is gone."""
        values: dict[tuple[str, str], float] = {}
        families = _families(self._roots.values())
        for name, root in self._roots.items():
            for what, value in _measures(families[root]).items():
                values[name, what] = value
        size, connections = self._row(POSTGRES)
        about = self._redis.info("memory") | self._redis.info("clients")  # type: ignore[operator]
        values["PostgreSQL", KEPT] = size / MIB
        values["PostgreSQL", CONNECTIONS] = connections
        values["Redis", KEPT] = int(about["used_memory"]) / MIB
        values["Redis", CONNECTIONS] = int(about["connected_clients"])
        [settled] = self._row(SETTLED)
        samples.add(time.monotonic() - self._began, int(settled), values)

    def _row(self, query: str) -> tuple[int, ...]:
        row = self._database.execute(query).fetchone()
        return tuple(int(value) for value in row) if row else ()


def _families(roots: Iterable[psutil.Process]) -> dict[psutil.Process, list[psutil.Process]]:
    """Each with its children and theirs, from one walk over the processes of this machine; raises NoSuchProcess."""
    children: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process)
    families = {}
    for root in roots:
        if not root.is_running():
            raise psutil.NoSuchProcess(root.pid)
        family = [root]
        for process in family:  # grows while we walk it
            family += children.get(process.pid, [])
        families[root] = family
    return families


def _measures(family: Iterable[psutil.Process]) -> dict[str, float]:
    """Sums over a process and its children; a child that ends meanwhile is left out."""
    sums = dict.fromkeys((MEMORY, FILES, THREADS), 0.0)
    for process in family:
        try:
            with process.oneshot():
                memory, files, threads = _own_memory(process), process.num_fds(), process.num_threads()
        except psutil.NoSuchProcess:
            continue
        sums[MEMORY] += memory / MIB
        sums[FILES] += files
        sums[THREADS] += threads
    return sums


def _own_memory(process: psutil.Process) -> int:
    """Resident bytes that are neither a file's nor a shared segment's: PostgreSQL's buffers fill up once, and belong to
    nobody. Elsewhere than on Linux, what the process has alone (USS)."""
    about = process.memory_info()
    if hasattr(about, "shared"):
        return int(about.rss - about.shared)
    return int(process.memory_full_info().uss)
