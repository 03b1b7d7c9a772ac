"""A worker that lives but no longer consumes is noticed and replaced; one that is busy or alone is left alone."""

import signal
import time
from collections.abc import Iterator

import psycopg
import pytest

from models import rediskeys
from models.redisclient import redis_client
from models.settings import settings
from ops.processes import application
from ops.state import DataDir
from ops.supervisor import Supervisor
from tests.pipeline.conftest import READY_SECONDS, Rush, assert_exact, drained, eventually
from web.wake import waker
from worker.watchdog import BUSY_MAX, STUCK_STATUS, TICK_SECONDS, UNANSWERED_MAX, Watchdog

# Longer than the watchdog's patience.
LONG_SECONDS = 12


def stop_consuming(worker: str) -> None:
    """Leave a worker as a broken reconnect leaves it: its loop runs, answers pings, and reads no work."""
    told = waker()._celery.control.cancel_consumer("settlements", destination=[worker], reply=True, timeout=10)
    assert "no longer consuming" in str(told)


def test_a_worker_that_no_longer_consumes_ends_within_ten_seconds(make_sale, processes):
    sale = make_sale(total_stock=10)
    processes.start("worker")
    processes.wait_ready("worker")

    stop_consuming("worker@test")
    rush = Rush([sale.id], 20).start().wait()

    eventually(lambda: not processes.is_running("worker"), "the worker ended itself")
    # One tick may just have passed and one is on its way; a machine that is not overwhelmed keeps to the clock.
    assert (UNANSWERED_MAX + 2) * TICK_SECONDS <= 10
    assert processes.status("worker") == STUCK_STATUS
    assert "worker.stuck" in processes.log("worker")
    processes.start("worker")
    eventually(lambda: drained(sale.id), "the next worker settled the line", READY_SECONDS)
    assert_exact(rush, sale.id, 10)


def test_without_the_watchdog_it_stays_stuck_and_the_line_waits(make_sale, processes):
    sale = make_sale(total_stock=10)
    processes.start("unguarded", "worker")
    eventually(lambda: "ready." in processes.log("worker"), "the worker is ready", READY_SECONDS)

    stop_consuming("worker@test")
    Rush([sale.id], 20).start().wait()
    time.sleep(LONG_SECONDS)

    assert processes.is_running("worker")
    assert not drained(sale.id)


@pytest.fixture
def supervised(store, tmp_path) -> Iterator[Supervisor]:
    """A worker of the table of processes under the supervisor of `make run`."""
    data_dir = DataDir.at(tmp_path / "data")
    data_dir.create()
    worker = next(process for process in application(settings()) if process.name == "worker")
    supervisor = Supervisor(data_dir, (worker,), {"LOG_LEVEL": "INFO"})
    supervisor.start()
    supervisor.start_application()
    yield supervisor
    supervisor.stop()
    supervisor.wait(60)


def test_the_supervisor_replaces_a_stuck_worker_and_the_line_goes_on(make_sale, supervised):
    sale = make_sale(total_stock=10)
    eventually(lambda: bool(redis_client().hkeys(rediskeys.WORKERS)), "the worker is ready", READY_SECONDS)
    first = supervised.process_ids()["worker"]

    stop_consuming(redis_client().hkeys(rediskeys.WORKERS)[0])
    rush = Rush([sale.id], 20).start().wait()

    eventually(lambda: drained(sale.id), "the line was settled without anybody's help", READY_SECONDS)
    assert supervised.process_ids()["worker"] != first
    assert_exact(rush, sale.id, 10)


def test_a_worker_with_a_long_batch_in_hand_is_left_alone_and_said_to_be_alive(make_sale, processes, monkeypatch):
    for bound in ("SETTLE_STALL_MS", "DATABASE_STATEMENT_MS"):
        monkeypatch.setenv(bound, "600000")
    sale = make_sale(total_stock=10)
    processes.start("worker")
    processes.wait_ready("worker")
    with psycopg.connect(settings().psycopg_url) as somebody_else:
        somebody_else.execute("SELECT 1 FROM flash_sales WHERE id = %s FOR UPDATE", (sale.id,))
        rush = Rush([sale.id], 20).start().wait()

        time.sleep(LONG_SECONDS)

        assert processes.is_running("worker")
        processes.wait_ready("worker")
    eventually(lambda: drained(sale.id), "the line is empty")
    assert processes.is_running("worker")
    assert_exact(rush, sale.id, 10)


def test_a_worker_that_slept_is_not_taken_for_a_stuck_one_when_it_wakes(make_sale, processes):
    sale = make_sale(total_stock=10)
    processes.start("worker")
    processes.wait_ready("worker")
    processes.signal("worker", signal.SIGSTOP)
    eventually(lambda: not redis_client().exists(rediskeys.worker_heartbeat("worker@test")), "its heartbeat is missed")
    time.sleep(UNANSWERED_MAX)

    processes.signal("worker", signal.SIGCONT)
    rush = Rush([sale.id], 20).start().wait()

    eventually(lambda: drained(sale.id), "the line is empty")
    processes.wait_ready("worker")
    assert processes.is_running("worker")
    assert_exact(rush, sale.id, 10)


def test_a_broker_that_is_away_is_no_reason_to_end(make_sale, processes, servers):
    sale = make_sale(total_stock=10)
    processes.start("worker")
    processes.wait_ready("worker")
    servers.valkey.kill()

    time.sleep(LONG_SECONDS)

    assert processes.is_running("worker")
    servers.valkey.start()
    rush = Rush([sale.id], 20).start().wait()
    # Celery's pause between two tries to reconnect can be longer than the watchdog's patience once the broker is back.
    eventually(lambda: drained(sale.id) or processes.status("worker") == STUCK_STATUS, "somebody acts", READY_SECONDS)
    if not processes.is_running("worker"):
        processes.start("worker")
    eventually(lambda: drained(sale.id), "the line is empty")
    assert_exact(rush, sale.id, 10)


class Worker:
    """A worker as the watchdog sees it, for what would take minutes."""

    def __init__(self) -> None:
        self.answers = True
        self.broker_answers = True
        self.is_busy = False
        self.beats = 0
        self.ended = False
        self.watchdog = Watchdog(self._probe, lambda: self.is_busy, self._beat, self._end)

    def _probe(self) -> bool:
        if self.broker_answers and self.answers:
            self.watchdog.heard()
        return self.broker_answers

    def _beat(self) -> None:
        self.beats += 1

    def _end(self) -> None:
        self.ended = True

    def live(self, seconds: int) -> "Worker":
        for _ in range(seconds):
            self.watchdog.tick()
        return self


def test_a_heart_that_hears_its_probes_beats_every_other_second():
    assert Worker().live(11).beats == 5


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({"answers": False}, True),
        ({"answers": False, "broker_answers": False}, False),
        ({"answers": False, "is_busy": True}, False),
    ],
    ids=["deaf", "the broker is away", "busy"],
)
def test_only_silence_of_an_idle_worker_with_a_broker_is_proof(change, ends):
    worker = Worker().live(5)
    for name, value in change.items():
        setattr(worker, name, value)

    assert worker.live(UNANSWERED_MAX - 1).ended is False
    assert worker.live(2).ended is ends


def test_a_task_that_never_ends_is_not_called_alive_for_ever():
    worker = Worker()
    worker.is_busy = True
    worker.live(BUSY_MAX)
    beats = worker.beats

    worker.live(BUSY_MAX)

    assert (worker.beats, worker.ended) == (beats, False)
