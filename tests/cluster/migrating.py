"""A database of the shop's first version, a worker that settles in it, and what watches the locks of a migration."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

from models import connections, database
from models.settings import settings
from tests.cluster.pointed import pointed_at
from tests.cluster.replicas import eventually

ALEMBIC = Config(toml_file=str(Path(__file__).parents[2] / "pyproject.toml"))
REVISIONS = [script.revision for script in reversed(list(ScriptDirectory.from_config(ALEMBIC).walk_revisions()))]
HOT = ("flash_sales", "purchases", "stock_movements", "buyer_totals")
ROWS = 5_000
# A few sales are looked through in no time; as many rows as there are purchases are not.
GLANCE = 1_000
# The locks that a writer waits for.
STRONG = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")

# What the shop's first version held, with the columns that every later one has too.
FILL = f"""
    INSERT INTO users (name, email, password_hash) VALUES ('A', 'a@example.com', 'x');
    INSERT INTO products (name, slug, price) VALUES ('A shoe', 'a-shoe', 10);
    INSERT INTO flash_sales (title, product_id, currency, total_stock, sold, starts_at, hold_seconds, settled_through,
                             state)
    VALUES ('A rush', 1, 'USD', 1000000, {ROWS}, now(), 600, {ROWS}, 'live');
    INSERT INTO purchases (sale_id, ticket, user_id, kind, quantity, status, currency, nonce, admitted_at, settled_at,
                           revision)
    SELECT 1, ticket, ticket, 'purchase', 1, 'confirmed', 'USD', ticket, now(), now(), 1
    FROM generate_series(1, {ROWS}) AS ticket;
    INSERT INTO stock_movements (sale_id, kind, quantity, reason)
    SELECT 1, 'restock', 1, 'filled' FROM generate_series(1, {ROWS})
"""  # noqa: S608
# As a worker of any version settles: the sale's row is locked, an outcome and a movement go in, the row changes.
SETTLE = """
    WITH sale AS (SELECT settled_through + 1 AS ticket FROM flash_sales WHERE id = 1 FOR UPDATE),
    settled AS (
      INSERT INTO purchases (sale_id, ticket, user_id, kind, quantity, status, currency, nonce, admitted_at, settled_at,
                             revision)
      SELECT 1, ticket, ticket, 'purchase', 1, 'confirmed', 'USD', ticket, now(), now(), 1 FROM sale
    ), moved AS (
      INSERT INTO stock_movements (sale_id, kind, quantity, reason) SELECT 1, 'restock', 1, 'filled' FROM sale
    )
    UPDATE flash_sales SET settled_through = sale.ticket, sold = sold + 1, total_stock = total_stock + 1
    FROM sale WHERE id = 1
"""
# What is read or locked of a table's part is read or locked of the table.
READ = """
    SELECT coalesce(inhparent, relid)::regclass::text, sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
    FROM pg_stat_xact_user_tables LEFT JOIN pg_inherits ON inhrelid = relid GROUP BY 1
"""
THERE = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s)"
LOCKED = """
    SELECT coalesce(inhparent, relation)::regclass::text FROM pg_locks LEFT JOIN pg_inherits ON inhrelid = relation
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode = ANY(%s)
"""


# Who waits for a hot table.
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND locktype = 'relation'"


class Watch:
    """What every transaction of this process read of hot tables under a lock that their writers wait for."""

    def __init__(self) -> None:
        self.held_up: list[tuple[str, int]] = []
        self.commits = 0

    def begin(self, connection: Connection) -> None:
        # With its own connection: other threads of this process have transactions of theirs.
        # A table that this transaction makes has no writers yet.
        there = set(connection.exec_driver_sql(THERE, (list(HOT),)).scalars())
        connection.info["watched"] = (there, self._read(connection))

    def commit(self, connection: Connection) -> None:
        self.commits += 1
        there, before = connection.info.pop("watched", (set(), {}))
        locked = set(connection.exec_driver_sql(LOCKED, (list(STRONG),)).scalars())
        for table, count in self._read(connection).items():
            rows = count - before.get(table, 0)
            if table in locked & there and rows > GLANCE:
                self.held_up.append((table, rows))

    @staticmethod
    def _read(connection: Connection) -> dict[str, int]:
        return {row[0]: int(row[1]) for row in connection.exec_driver_sql(READ)}


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch this process's engine and those that migrations make: not all there are, for other threads use theirs."""
    watch, watched, make = Watch(), [], connections.new_engine

    def listen(to: Engine) -> Engine:
        event.listen(to, "begin", watch.begin)
        event.listen(to, "commit", watch.commit)
        watched.append(to)
        return to

    with pytest.MonkeyPatch.context() as patch:
        # Alembic reads its env.py anew for every command.
        patch.setattr(connections, "new_engine", lambda *args, **options: listen(make(*args, **options)))
        listen(database.engine())
        try:
            yield watch
        finally:
            for each in watched:
                event.remove(each, "begin", watch.begin)
                event.remove(each, "commit", watch.commit)


class Worker:
    """Settles one request after the other, over a connection with the shop's own bounds, until it is told to stop."""

    def __init__(self) -> None:
        known = settings()
        options = f"-c lock_timeout={known.database_lock_ms} -c statement_timeout={known.database_statement_ms}"
        self.settled = 0
        self.failures: list[str] = []
        self._connection = psycopg.connect(known.psycopg_url, autocommit=True, options=options, prepare_threshold=None)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._settle)

    def __enter__(self) -> "Worker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        self._connection.close()

    def _settle(self) -> None:
        while not self._over.wait(0.005):
            try:
                self._connection.execute(SETTLE)
                self.settled += 1
            except psycopg.Error as why:
                self.failures.append(str(why))

    def goes_on(self) -> None:
        so_far = self.settled
        eventually(lambda: self.settled > so_far or bool(self.failures), "the worker settles")


@pytest.fixture
def empty(servers, request) -> Iterator[None]:
    """This process pointed at an empty database of its own."""
    here = make_url(settings().database_url)
    admin = create_engine(here, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE migrated"))
    try:
        with pointed_at(DATABASE_URL=here.set(database="migrated").render_as_string(hide_password=False)):
            yield
    finally:
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE migrated WITH (FORCE)"))
        admin.dispose()


def run_sql(script: str) -> None:
    with psycopg.connect(settings().psycopg_url, autocommit=True) as connection:
        connection.execute(script)
