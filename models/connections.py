"""How a connection to PostgreSQL is made: to whichever of its servers takes writes, behind a pooler or not, and never
waited on for ever.

A pooler such as PgBouncer lends a server's connection for one transaction. What is said to the connection at its start,
or prepared on it, reaches somebody else's next: with `DATABASE_POOLED` nothing is prepared, and each transaction says
its own bounds.
"""

import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from models.settings import settings

# How much later than the server's own end of a statement its answer may come.
ANSWER_GRACE_SECONDS = 2.0
# A connection that came back this lately is lent again without a trip to PostgreSQL.
TRUSTED_SECONDS = 0.5
BACK_AT = "back at"
# Server's settings and their values, in the server's own units (milliseconds, where they are times).
Bounds = Mapping[str, int | str]

RV = TypeVar("RV")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which nobody waits for ever: closed, with OperationalError, where no answer comes in time.

    The bounds below are kept by the server. One that is frozen, or behind something that takes every packet and
    passes none on, keeps none of them, and TCP sees nothing wrong.
    """

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        seconds = settings().database_statement_ms / 1000 + ANSWER_GRACE_SECONDS if timeout is None else timeout
        end = time.monotonic() + seconds
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.OperationalError:
            if timeout is None and time.monotonic() >= end:
                # The answer may come yet, and would be taken for the next statement's.
                self.close()
            raise


def new_engine(
    url: str,
    *,
    bounds: Bounds,
    connect_seconds: int,
    connection_class: type[psycopg.Connection[Any]] = BoundedConnection,
    **options: Any,
) -> Engine:
    """An engine for an address as libpq reads it, which may name several servers; every wait on it is bounded.

    `connect_seconds` is for each server that the address names.
    """
    connect_args: dict[str, Any] = {
        "connect_timeout": connect_seconds,
        # A peer that vanishes without a word is noticed by the kernel, not waited for.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    is_pooled = settings().database_pooled
    if is_pooled:
        connect_args["prepare_threshold"] = None
    else:
        connect_args["options"] = " ".join(f"-c {name}={value}" for name, value in bounds.items())
    # An error's text is logged; the values that it happened to may be a password's hash.
    made = create_engine("postgresql+psycopg://", connect_args=connect_args, hide_parameters=True, **options)

    @event.listens_for(made, "do_connect")
    def connect(_dialect: object, _record: object, _args: object, given: dict[str, Any]) -> psycopg.Connection[Any]:
        return connection_class.connect(url, **given)

    _look_before_lending(made)
    if is_pooled:
        told = tell_transaction(bounds)

        @event.listens_for(made, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql(told)

    return made


def _look_before_lending(made: Engine) -> None:
    """Have a connection that ended while it lay in the pool replaced, and all others of its time with it.

    As `pool_pre_ping`, which asks PostgreSQL each time. A server that ends a connection says so on it, and one that was
    killed has its kernel say so: behind a moment's rest, a look at the socket is enough.
    """

    @event.listens_for(made, "checkin")
    def note(_connection: object, entry: ConnectionPoolEntry) -> None:
        entry.info[BACK_AT] = time.monotonic()

    @event.listens_for(made, "checkout")
    def look(connection: psycopg.Connection[Any], entry: ConnectionPoolEntry, _lent: object) -> None:
        back_at = entry.info.get(BACK_AT)
        if back_at is None:
            # It was made just now.
            return
        try:
            is_quiet = not _says_something(connection)
            if not is_quiet or time.monotonic() - back_at >= TRUSTED_SECONDS:
                made.dialect.do_ping(connection)  # type: ignore[arg-type]
        except psycopg.Error as error:
            raise InvalidatePoolError("the connection ended while nobody had it") from error


def _says_something(connection: psycopg.Connection[Any]) -> bool:
    """Whether there is anything to read on an idle connection, be it that it ended. Raises psycopg's OperationalError
    where it is closed."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def short_question(connect_seconds: int, statement_ms: int) -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own for a question that a busy pool must not delay. Raises what psycopg raises."""
    with BoundedConnection.connect(
        settings().psycopg_url, connect_timeout=connect_seconds, prepare_threshold=None
    ) as connection:
        connection.execute(tell_transaction({"statement_timeout": statement_ms}))
        yield connection


def tell_transaction(bounds: Bounds) -> str:
    """The statement that bounds the rest of its transaction and nothing after it; harmless outside of one."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in bounds.items())
