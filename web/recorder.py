"""Fraud records on their way to PostgreSQL: written beside the request that they are about, so that no buyer waits."""

import queue
import random
import threading
import time

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.fraud import NewFraudRecord, write_records
from models.once import once

log = structlog.get_logger()

WAITING_MAX = 10_000
BATCH_MAX = 500
RETRY_SECONDS = 0.2
RETRY_SECONDS_MAX = 5.0
# What PostgreSQL raises when it is away: the records wait for it.
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeoutError)


class Recorder:
    """A queue of records and the thread that writes them. `dropped` counts those that were lost."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self.dropped = 0
        self._waiting: queue.Queue[NewFraudRecord] = queue.Queue(waiting_max)
        threading.Thread(target=self._write_for_ever, name="recorder", daemon=True).start()

    def keep(self, record: NewFraudRecord) -> None:
        """Write this record soon; never blocks and never raises. Dropped where too many wait."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._drop([record], "full")

    @property
    def is_idle(self) -> bool:
        """Whether every record that was kept is written or dropped."""
        return self._waiting.unfinished_tasks == 0

    def _write_for_ever(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < BATCH_MAX:
                try:
                    batch.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            self._write(batch)
            for _ in batch:
                self._waiting.task_done()

    def _write(self, batch: list[NewFraudRecord]) -> None:
        pause = RETRY_SECONDS
        while True:
            try:
                write_records(batch)
            except DATABASE_AWAY as error:
                log.warning("fraud.unwritten", records=len(batch), error=type(error).__name__)
            except SQLAlchemyError as error:
                self._drop(batch, type(error).__name__)
                return
            else:
                return
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, RETRY_SECONDS_MAX)

    def _drop(self, records: list[NewFraudRecord], why: str) -> None:
        self.dropped += len(records)
        log.warning("fraud.dropped", records=len(records), why=why, dropped=self.dropped, signal=records[0].signal)


@once
def recorder() -> Recorder:
    """The recorder of this process, started with its first use (after a server has forked)."""
    return Recorder()
