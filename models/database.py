"""PostgreSQL: the engine of this process, transactions, and what every table shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from sqlalchemy import BigInteger, Engine, Identity, MetaData, Numeric, Text, func, select
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from models.connections import Bounds, new_engine
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


class Base(DeclarativeBase):
    """Every table: text without lengths (rules are CHECKs), 64-bit integers, aware timestamps."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {str: Text(), int: BigInteger(), datetime: TIMESTAMP(timezone=True)}  # noqa: RUF012


def bounds() -> Bounds:
    """What every connection that serves a request is bound by, at the server."""
    known = settings()
    return {
        "statement_timeout": known.database_statement_ms,
        "lock_timeout": known.database_lock_ms,
        "idle_in_transaction_session_timeout": known.database_idle_in_transaction_ms,
        "timezone": "UTC",
    }


@once
def engine() -> Engine:
    """The engine of this process. Every wait on it is bounded, by the server where the server can."""
    known = settings()
    return new_engine(
        known.psycopg_url,
        connect_seconds=known.database_connect_seconds,
        bounds=bounds(),
        pool_size=known.database_pool_size,
        max_overflow=0,
        pool_timeout=known.database_connect_seconds,
    )


@contextmanager
def transaction(at: Engine | None = None) -> Iterator[Session]:
    """One transaction: committed when the block ends, rolled back when it raises. `at` is the primary unless given."""
    with Session(at or engine(), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def snapshot(at: Engine | None = None) -> Iterator[Session]:
    """A read-only transaction that sees one moment throughout, for counts that must agree with each other."""
    frozen = (at or engine()).execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with Session(frozen, expire_on_commit=False) as session, session.begin():
        yield session


def database_now(session: Session) -> datetime:
    """PostgreSQL's clock at this instant (not at the transaction's start): the authority under a row lock."""
    return session.execute(select(func.clock_timestamp(type_=TIMESTAMP(timezone=True)))).scalar_one()
