"""Reads that may be a second old, at a standby where `DATABASE_REPLICA_URL` names one: lists, leaderboards, reports.

A standby answers only while it is known to have all that the primary had written `DATABASE_REPLICA_LAG_MS` ago, by the
primary's log and not by anybody's clock: an idle primary makes no standby look late, and one that hears nothing more
does not look fresh. Otherwise, and when it fails in the middle of an answer, the primary is asked. Nothing is read here
that decides, counts the books, or shows buyers what they have just done.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from models import database
from models.connections import new_engine
from models.once import once
from models.settings import settings

log = structlog.get_logger()

T = TypeVar("T")

# How long a standby that could not be asked is left alone.
AWAY_SECONDS = 5.0
# Places in the primary's log that are remembered; the older ones are of no use.
PLACES_KEPT = 16

# Where the primary's log ends, as a number of bytes.
WRITTEN = text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
# How far a standby has come in it; none where it is no standby (any more).
REPLAYED = text("""
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END
""")


class Replica:
    """The standby, and how fresh it is known to be."""

    def __init__(self, url: str, lag_seconds_max: float) -> None:
        known = settings()
        self.engine = new_engine(
            url,
            connect_seconds=known.database_connect_seconds,
            bounds=database.bounds(),
            pool_size=known.database_pool_size,
            max_overflow=0,
            pool_timeout=known.database_connect_seconds,
        )
        self._lag_seconds_max = lag_seconds_max
        # (this process's clock, the end of the primary's log then), the latest last
        self._places: deque[tuple[float, int]] = deque(maxlen=PLACES_KEPT)
        # What the primary had at this moment, the standby has.
        self._fresh_as_of = float("-inf")
        self._left_alone_until = float("-inf")
        self._looking = threading.Lock()

    def is_fresh(self) -> bool:
        """Whether it may be asked now; waits for nobody. Looks anew, beside the caller, before it knows too little."""
        moment = time.monotonic()
        age = moment - self._fresh_as_of
        if (
            age > self._lag_seconds_max / 2
            and moment > self._left_alone_until
            and self._looking.acquire(blocking=False)
        ):
            threading.Thread(target=self._look_and_let_go, name="replica", daemon=True).start()
        return age <= self._lag_seconds_max

    def look(self) -> None:
        """Ask both how far they are. Raises what SQLAlchemy raises when one of them is away."""
        moment = time.monotonic()
        with database.engine().connect() as connection:
            self._places.append((moment, int(connection.execute(WRITTEN).scalar_one())))
        with self.engine.connect() as connection:
            replayed = connection.execute(REPLAYED).scalar_one()
        if replayed is not None:
            caught_up = [at for at, written in self._places if written <= int(replayed)]
            self._fresh_as_of = max(self._fresh_as_of, *caught_up) if caught_up else self._fresh_as_of

    def leave_alone(self, error: Exception) -> None:
        """Ask it nothing for some seconds."""
        self._fresh_as_of = float("-inf")
        self._left_alone_until = time.monotonic() + AWAY_SECONDS
        log.warning("replica.away", error=type(error).__name__)

    def _look_and_let_go(self) -> None:
        try:
            self.look()
        except SQLAlchemyError as error:
            self.leave_alone(error)
        finally:
            self._looking.release()


@once
def replica() -> Replica | None:
    """The standby of this process's settings, if they name one."""
    known = settings()
    url = known.database_replica_url
    return Replica(url, known.database_replica_lag_ms / 1000) if url else None


def read_lately(ask: Callable[[Session], T], *, at_one_moment: bool = False) -> T:
    """What `ask` reads, at most `DATABASE_REPLICA_LAG_MS` old where a standby answers; `ask` may be called twice.

    `at_one_moment`: all that it reads agrees. Raises what `ask` raises, and what the primary raises when it is away.
    """
    standby = replica()
    begin = database.snapshot if at_one_moment else database.transaction
    if standby is not None and standby.is_fresh():
        try:
            with begin(standby.engine) as session:
                return ask(session)
        except (OperationalError, PoolTimeoutError) as error:
            standby.leave_alone(error)
    with begin() as session:
        return ask(session)
