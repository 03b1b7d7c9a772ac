"""Taking a range of sales out of purchases and stock movements, and putting it back, while the shop sells.

None of it makes a reader or writer of other sales wait for longer than it takes to look something up. It runs outside
transactions, one step at a time, and every step may be repeated: after a crash PostgreSQL's catalogue says how far it
came.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable

from models.errors import ConflictError, UnavailableError
from models.settings import settings

Connection = psycopg.Connection[Any]

WHOLES = ("purchases", "stock_movements")
CONNECT_SECONDS = 10
# As for migrations: a lock that cannot be had at once is done without and tried again, for whoever waits for a lock
# makes those wait who come after.
LOCK_TIMEOUT_MS = 500
TRIES_MAX = 20
PAUSE_SECONDS_MAX = 1.0
# One at a time works on history. PostgreSQL may keep the lock of one who died for a moment longer.
ONE_AT_A_TIME = "SELECT pg_advisory_lock(4244)"

# How a range's part of a table stands: its name, and whether it is on its way out; nothing where it is no part.
STANDING = """
    SELECT part.relname, inhdetachpending FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid
    WHERE inhparent = CAST(%(whole)s AS regclass) AND coalesce(substring(
      pg_get_expr(part.relpartbound, part.oid) FROM 'FROM \\(''?(\\d+)')::bigint, 0) = %(first)s
"""


class HistoryBusyError(UnavailableError):
    """Somebody holds a lock that is needed, or is at work on history too. What was done stands: try again."""

    code = "HISTORY_BUSY"


@dataclass(frozen=True, slots=True)
class SaleRange:
    """The sales with ids from `first_sale_id` on, below `end_sale_id`."""

    first_sale_id: int
    end_sale_id: int

    def part_of(self, whole: str) -> str:
        """The name of its table, within that table or beside it."""
        return f"{whole}_r{self.first_sale_id}"


@contextmanager
def working_on_history() -> Iterator[Connection]:
    """A connection to the server itself that waits for locks briefly and for its answers as long as they take.

    Raises ConflictError behind a pooler, HistoryBusyError while somebody else is at it, and what psycopg raises.
    """
    if settings().database_pooled:
        raise ConflictError(
            "DATABASE_URL names a pooler: run this with the server's own address and DATABASE_POOLED=false",
            code="HISTORY_NEEDS_THE_SERVER",
        )
    bounds = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout=0 -c timezone=UTC -c datestyle=ISO"
    with psycopg.connect(
        settings().psycopg_url,
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        options=bounds,
        application_name="doorbuster-history",
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    ) as connection:
        _persist(lambda: connection.execute(ONE_AT_A_TIME))
        yield connection


def detach(connection: Connection, which: SaleRange) -> None:
    """Take a range out of both tables, for good or until it is attached again. Raises HistoryBusyError."""
    for whole in WHOLES:
        _persist(lambda whole=whole: _detach(connection, whole, which))  # type: ignore[misc]


def _detach(connection: Connection, whole: str, which: SaleRange) -> None:
    standing = connection.execute(STANDING, {"whole": whole, "first": which.first_sale_id}).fetchone()
    if standing is None:
        return
    part, is_pending = standing
    # Nobody waits for CONCURRENTLY; it waits for the transactions that may still see the part. Killed while it waits,
    # it is finished the next time.
    how = "FINALIZE" if is_pending else "CONCURRENTLY"
    connection.execute(
        sql.SQL(f"ALTER TABLE {{}} DETACH PARTITION {{}} {how}").format(sql.Identifier(whole), sql.Identifier(part))
    )


def attach(connection: Connection, which: SaleRange) -> None:
    """Put both tables of a range back in their places. Raises HistoryBusyError."""
    for whole in WHOLES:
        _persist(lambda whole=whole: _attach(connection, whole, which))  # type: ignore[misc]


def _attach(connection: Connection, whole: str, which: SaleRange) -> None:
    standing = connection.execute(STANDING, {"whole": whole, "first": which.first_sale_id}).fetchone()
    if standing is not None and not standing[1]:
        return
    if standing is not None:
        _detach(connection, whole, which)
    connection.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(whole),
            sql.Identifier(which.part_of(whole)),
            sql.Literal(which.first_sale_id),
            sql.Literal(which.end_sale_id),
        )
    )


def drop(connection: Connection, which: SaleRange) -> None:
    """Drop what was detached. Raises HistoryBusyError."""
    for whole in WHOLES:
        name = sql.Identifier(which.part_of(whole))
        _persist(lambda name=name: connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name)))  # type: ignore[misc]


def is_there(connection: Connection, table: str) -> bool:
    return connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,)


def _persist(step: Callable[[], object]) -> None:
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            step()
        except (LockNotAvailable, DeadlockDetected) as error:
            if not tries_left:
                raise HistoryBusyError(f"A lock could not be had in {TRIES_MAX} tries: try again later") from error
            time.sleep(random.uniform(0, PAUSE_SECONDS_MAX))  # noqa: S311 - a pause
        else:
            return
