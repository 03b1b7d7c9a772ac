"""Real Celery processes against the real servers of this test process, and a rush through the real gate."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models import rediskeys
from models.audit import audit_sale
from models.database import transaction
from models.errors import DomainError
from models.gate import admit
from models.purchase import Kind, Purchase
from models.redisclient import REDIS_AWAY, redis_client
from tests.ending import end
from web.wake import waker

ROOT = Path(__file__).parent.parent.parent
CELERY = (sys.executable, "-m", "celery", "--app", "worker.app")
WORKER = ("worker", "--pool", "solo", "--concurrency", "1", "--without-gossip", "--without-mingle")
UNGUARDED = (sys.executable, "-m", "celery", "--app", "tests.pipeline.unguarded")
COMMANDS = {
    "unguarded": (*UNGUARDED, *WORKER, "--queues", "settlements"),
    "worker": (*CELERY, *WORKER, "--queues", "settlements"),
    "own": (*CELERY, *WORKER),
    "chores": (*CELERY, *WORKER, "--queues", "chores"),
    "beat": (*CELERY, "beat", "--scheduler", "worker.beat:BoundedScheduler", "--pidfile="),
}
# Far above what anything takes here alone; a worker imports for a second, or for a minute where fifty others want the
# same processor.
DRAIN_SECONDS = 120
READY_SECONDS = 240
# For so long a buyer asks a Redis that is away.
PATIENCE_SECONDS = 120


def eventually(condition: Callable[[], bool], what: str, seconds: float = DRAIN_SECONDS) -> None:
    """Wait until the condition holds; fail with `what` if it does not in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s: {what}")


class Processes:
    """The Celery processes of a test; whatever it starts ends with it."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, kind: str, name: str | None = None, *extra: str) -> None:
        name = name or kind
        command = [*COMMANDS[kind], *extra]
        if kind != "beat":
            command += ["--hostname", f"{name}@test"]
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | {"LOG_LEVEL": "INFO"}, stdout=log, stderr=log
            )

    def wait_ready(self, *names: str) -> None:
        keys = [rediskeys.worker_heartbeat(f"{name}@test") for name in names]
        eventually(lambda: redis_client().exists(*keys) == len(keys), f"{names} are ready", READY_SECONDS)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self._running[name]
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait(10)
            redis_client().delete(rediskeys.worker_heartbeat(f"{name}@test"))

    def signal(self, name: str, number: int) -> None:
        self._running[name].send_signal(number)

    def is_running(self, name: str) -> bool:
        return self._running[name].poll() is None

    def status(self, name: str) -> int | None:
        return self._running[name].poll()

    def log(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._running.values():
            end(process, seconds_max=15)


@pytest.fixture
def processes(store, tmp_path) -> Iterator[Processes]:
    these = Processes(tmp_path)
    yield these
    these.stop()


class Rush:
    """Many buyers at once through the gate; remembers who was accepted, and who can't know."""

    def __init__(
        self, sale_ids: list[int], buyers: int, *, quantity: int = 1, threads: int = 8, dedicated: bool = False
    ) -> None:
        self.accepted: dict[tuple[int, int], int] = {}
        self.refused: list[str] = []
        self.unknown = 0
        self._sale_ids = sale_ids
        self._quantity = quantity
        self._dedicated = dedicated
        self._lock = threading.Lock()
        self._numbers = iter(range(1, buyers + 1))
        self._threads = [threading.Thread(target=self._buy) for _ in range(threads)]

    def start(self) -> "Rush":
        for thread in self._threads:
            thread.start()
        return self

    def wait(self) -> "Rush":
        for thread in self._threads:
            thread.join(2 * PATIENCE_SECONDS)
            assert not thread.is_alive()
        return self

    def wait_for(self, accepted: int) -> None:
        eventually(lambda: len(self.accepted) >= accepted or not self._is_running(), f"{accepted} accepted")

    def _is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _buy(self) -> None:
        while True:
            with self._lock:
                buyer = next(self._numbers, None)
            if buyer is None:
                return
            sale_id = self._sale_ids[buyer % len(self._sale_ids)]
            self._ask(sale_id, buyer)

    def _ask(self, sale_id: int, buyer: int) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                # The key makes it safe to ask again where the answer was lost.
                admission = admit(sale_id, buyer, Kind.PURCHASE, self._quantity, idempotency_key="once")
            except DomainError as refusal:
                with self._lock:
                    self.refused.append(refusal.code)
                return
            except REDIS_AWAY:
                time.sleep(0.05)
                continue
            with self._lock:
                assert self.accepted.setdefault((sale_id, admission.ticket), buyer) == buyer
            if admission.wake:
                waker().wake(sale_id, dedicated=self._dedicated)
            return
        self.unknown += 1


def settled(sale_id: int) -> dict[int, Purchase]:
    with transaction() as session:
        return {row.ticket: row for row in session.query(Purchase).filter_by(sale_id=sale_id)}


def drained(sale_id: int) -> bool:
    return redis_client().xlen(rediskeys.mailbox(sale_id)) == 0


def assert_exact(rush: Rush, sale_id: int, units: int) -> None:
    """Every accepted ticket has one outcome, of its own buyer; the units are exact; the audit agrees."""
    rows = settled(sale_id)
    mine = {ticket: buyer for (sale, ticket), buyer in rush.accepted.items() if sale == sale_id}
    missing = set(mine) - set(rows)
    assert not missing, f"accepted and never answered: {sorted(missing)[:10]}"
    assert {ticket: rows[ticket].user_id for ticket in mine} == mine
    assert sum(row.quantity for row in rows.values() if row.status == "confirmed") == units
    assert audit_sale(sale_id).agrees
