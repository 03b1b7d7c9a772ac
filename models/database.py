"""PostgreSQL: the engine of this process, transactions, and what every table shares."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import BigInteger, Engine, Identity, MetaData, Numeric, Text, create_engine, event, func, select
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from models.once import once
from models.settings import settings

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Money = Annotated[Decimal, mapped_column(Numeric(12, 2))]
RowId = Annotated[int, mapped_column(BigInteger, Identity(always=False), primary_key=True)]
CreatedAt = Annotated[datetime, mapped_column(server_default=func.now())]


# How much later than the server's own end of a statement its answer may come.
ANSWER_GRACE_SECONDS = 2.0

RV = TypeVar("RV")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which nobody waits for ever: closed, with OperationalError, where no answer comes in time.

    The timeouts below are kept by the server. One that is frozen, or behind something that takes every packet and
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


def bound_waits(engine: Engine) -> Engine:
    """Have an engine make only connections on which nobody waits for ever."""
    event.listen(
        engine, "do_connect", lambda _dialect, _record, args, options: BoundedConnection.connect(*args, **options)
    )
    return engine


class Base(DeclarativeBase):
    """Every table: text without lengths (rules are CHECKs), 64-bit integers, aware timestamps."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {str: Text(), int: BigInteger(), datetime: TIMESTAMP(timezone=True)}  # noqa: RUF012


@once
def engine() -> Engine:
    """The engine of this process. Every wait on it is bounded, by the server where the server can."""
    known = settings()
    options = {
        "statement_timeout": known.database_statement_ms,
        "lock_timeout": known.database_lock_ms,
        "idle_in_transaction_session_timeout": known.database_idle_in_transaction_ms,
        "timezone": "UTC",
    }
    made = create_engine(
        known.database_url,
        pool_size=known.database_pool_size,
        max_overflow=0,
        pool_timeout=known.database_connect_seconds,
        pool_pre_ping=True,
        # An error's text is logged; the values that it happened to may be a password's hash.
        hide_parameters=True,
        connect_args={
            "connect_timeout": known.database_connect_seconds,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            # A peer that vanishes without a word is noticed by the kernel, not waited for.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )
    return bound_waits(made)


@contextmanager
def transaction() -> Iterator[Session]:
    """One transaction: committed when the block ends, rolled back when it raises."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def snapshot() -> Iterator[Session]:
    """A read-only transaction that sees one moment throughout, for counts that must agree with each other."""
    frozen = engine().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with Session(frozen, expire_on_commit=False) as session, session.begin():
        yield session


def database_now(session: Session) -> datetime:
    """PostgreSQL's clock at this instant (not at the transaction's start): the authority under a row lock."""
    return session.execute(select(func.clock_timestamp(type_=TIMESTAMP(timezone=True)))).scalar_one()
