"""This process's copy of the standing rules, renewed twice a second by a thread beside the requests.

PostgreSQL away or slow changes nothing here: the last rules that were read stay in force, and no request waits.
"""

import threading
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from models.once import once
from models.standing import NOTHING, Standing, new_standing_engine, read_standing

log = structlog.get_logger()

RENEW_EVERY_SECONDS = 0.5
# How long the first requests of a new process wait for its first copy; after that they go on without rules.
FIRST_COPY_SECONDS = 2.0


class StandingCopy:
    """The copy, and the thread that renews it."""

    def __init__(self) -> None:
        self._engine = new_standing_engine()
        self._standing = NOTHING
        self._reading = threading.Lock()
        self._is_read = threading.Event()
        self._is_late = False
        self._patience_ends_at = time.monotonic() + FIRST_COPY_SECONDS
        threading.Thread(target=self._renew_for_ever, name="standing", daemon=True).start()

    def current(self) -> Standing:
        """The rules in force. Waits for nobody once this process has had its first moments."""
        if not self._is_read.is_set():
            self._is_read.wait(max(0.0, self._patience_ends_at - time.monotonic()))
        return self._standing

    def renew(self) -> bool:
        """Read what has changed; False where PostgreSQL cannot say, or another is reading and takes long over it."""
        if not self._reading.acquire(timeout=FIRST_COPY_SECONDS):
            return False
        try:
            with self._engine.connect() as connection:
                self._standing = read_standing(connection, self._standing)
        except SQLAlchemyError as error:
            self._note_late(error)
            return False
        finally:
            self._reading.release()
        self._is_read.set()
        self._is_late = False
        return True

    def _note_late(self, error: SQLAlchemyError) -> None:
        if not self._is_late:
            self._is_late = True
            log.warning("standing.unread", error=type(error).__name__, version=str(self._standing.version))

    def _renew_for_ever(self) -> None:
        while True:
            self.renew()
            time.sleep(RENEW_EVERY_SECONDS)


@once
def standing_copy() -> StandingCopy:
    """The copy of this process, started with its first use (after a server has forked)."""
    return StandingCopy()
