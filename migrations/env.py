"""Alembic's entry: migrate the database that the settings name, with the models as the aim.

A shop may be selling meanwhile. A lock that a migration cannot have at once, it does without and tries again: whoever
waits for a table's lock makes everybody wait who comes after.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from alembic import context
from alembic.runtime.migration import MigrationContext
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from models.connections import new_engine
from models.revisions import is_later, newest_revision
from models.settings import settings
from models.tables import metadata

# Less than PostgreSQL waits before it looks for a deadlock (a second): a worker that has read its sale's row, and now waits
# behind a migration to write it, must not be the one that is ended.
LOCK_TIMEOUT_MS = 500
TRIES_MAX = 20
PAUSE_SECONDS_MAX = 1.0
# How long the last of many containers that start at once waits for the one that migrates.
TURN_SECONDS_MAX = 600
TURN_PAUSE_SECONDS = 0.2
CONNECT_SECONDS = 10
MY_TURN = "SELECT pg_try_advisory_xact_lock(4242)"
# Whoever keeps the turn says nothing meanwhile.
BOUNDS = {"lock_timeout": LOCK_TIMEOUT_MS, "statement_timeout": 0, "idle_in_transaction_session_timeout": 0}


@contextmanager
def my_turn(engine: Engine) -> Iterator[None]:
    """One migration at a time, however many containers start at once.

    Kept in a transaction of its own, for a migration has several; and asked for again and again rather than waited
    for, because an index that is made beside its writers waits for every statement that began before it.
    """
    end = time.monotonic() + TURN_SECONDS_MAX
    with engine.connect() as connection:
        while not connection.exec_driver_sql(MY_TURN).scalar():
            connection.rollback()
            if time.monotonic() > end:
                raise TimeoutError(f"another migration has been at work for {TURN_SECONDS_MAX} s")
            time.sleep(TURN_PAUSE_SECONDS)
        yield
        connection.rollback()


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        # A lock is held for one step, not until the last of them all is done.
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def is_done_by_a_later_release(engine: Engine) -> bool:
    """Whether the newest tables are asked for and a later release has made newer ones: one went back, and stays there.

    Alembic itself would only say that it cannot locate their revision.
    """
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    if not any(map(is_later, found)) or not is_for_the_newest():
        return False
    print(f"the tables are at {', '.join(found)}, and this release's at {newest_revision()}: left as they are")  # noqa: T201
    return True


def is_for_the_newest() -> bool:
    """Whether that is what the command is for: `upgrade head`."""
    try:
        return context.get_revision_argument() == newest_revision()
    except KeyError:
        # It asks for none, as `current` and `check` do.
        return False


def run() -> None:
    engine = new_engine(
        settings().psycopg_url,
        connect_seconds=CONNECT_SECONDS,
        bounds=BOUNDS,
        # An index of a large table is waited for.
        connection_class=psycopg.Connection,
        poolclass=NullPool,
    )
    with my_turn(engine):
        if is_done_by_a_later_release(engine):
            return
        for tries_left in reversed(range(TRIES_MAX)):
            try:
                with engine.connect() as connection:
                    migrate(connection)
                break
            except OperationalError as error:
                if not (tries_left and isinstance(error.orig, LockNotAvailable | DeadlockDetected)):
                    raise
                time.sleep(random.uniform(0, PAUSE_SECONDS_MAX))  # noqa: S311 - a pause


run()
