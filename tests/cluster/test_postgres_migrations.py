"""A migration holds up nobody who buys: none reads a large table while it holds a lock that its writers wait for.

How long that would take is not measured: a transaction that has such a lock, and reads more of the table than a glance,
takes as long as the table is large.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

from models import connections, database
from models.audit import audit_sale
from models.gate import admit
from models.movement import StockMovement
from models.purchase import Kind
from models.sale import FlashSale
from models.settings import settings
from models.settle import settle_turn
from tests.cluster.pointed import pointed_at
from tests.cluster.replicas import eventually
from tests.models.test_migrations import catalogue

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


def test_every_migration_lets_a_worker_settle_in_a_database_that_is_full(empty):
    command.upgrade(ALEMBIC, REVISIONS[0])
    run_sql(FILL)
    with Worker() as worker, watching() as watch:
        for revision in REVISIONS[1:]:
            worker.goes_on()
            before = watch.commits
            command.upgrade(ALEMBIC, revision)
            assert watch.commits > before, f"nobody watched {revision}"
            assert watch.held_up == [], revision
        worker.goes_on()
    assert worker.failures == []
    assert worker.settled >= len(REVISIONS)


def test_a_migration_that_must_wait_for_a_lock_lets_others_by_and_tries_again(empty):
    """While it waits, everybody waits behind it: less long than a worker does for a lock, and then anew."""
    command.upgrade(ALEMBIC, "0002")
    run_sql(FILL)
    done = threading.Event()

    def migrate() -> None:
        command.upgrade(ALEMBIC, "0003")
        done.set()

    thread = threading.Thread(target=migrate)
    with psycopg.connect(settings().psycopg_url) as holder, Worker() as worker:
        holder.execute("LOCK TABLE flash_sales IN ACCESS SHARE MODE")
        thread.start()
        for _ in range(2):
            eventually(lambda: bool(holder.execute(WAITING).fetchall()), "the migration waits for its lock")
            worker.goes_on()
        assert not done.is_set()
        holder.commit()
        thread.join(120)
        worker.goes_on()
    assert done.is_set()
    assert worker.failures == []


def test_the_shop_settles_while_its_tables_are_put_into_ranges(store, empty):
    """The real worker's code, which knows both: there and back again, and every book agrees."""
    command.upgrade(ALEMBIC, "head")
    run_sql(FILL.replace(f"{ROWS}", "5"))
    with database.transaction() as session:
        sale = session.get_one(FlashSale, 1)
        sale.total_stock, sale.flash_price, sale.original_price = 1_000, None, None
        session.query(StockMovement).delete()
        session.add(StockMovement(sale_id=1, kind="initial", quantity=1_000, reason="the sale was made"))
        session.execute(
            text(
                "INSERT INTO buyer_totals (sale_id, user_id, units, first_ticket) "
                "SELECT sale_id, user_id, sum(quantity), min(ticket) FROM purchases GROUP BY sale_id, user_id"
            )
        )
    over = threading.Event()
    failures: list[Exception] = []
    settled = 0

    def work() -> None:
        nonlocal settled
        user = 100
        while not over.is_set():
            user += 1
            try:
                admit(1, user, Kind.PURCHASE, 1)
                settled += settle_turn(1).settled
            except Exception as why:  # noqa: BLE001 - whatever it is, the test names it
                failures.append(why)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        eventually(lambda: settled > 0 or bool(failures), "the shop settles")
        for revision in ("0009", "0010", "0009", "0010"):
            (command.downgrade if revision == "0009" else command.upgrade)(ALEMBIC, revision)
            so_far = settled
            eventually(lambda so_far=so_far: settled > so_far or bool(failures), "the shop settles")
    finally:
        over.set()
        worker.join(60)
    assert failures == []
    assert audit_sale(1).agrees


def test_the_keys_of_movements_go_back_while_a_worker_settles(empty):
    command.upgrade(ALEMBIC, "0008")
    run_sql(FILL)
    with Worker() as worker, watching() as watch:
        for move, revision in ((command.downgrade, "0007"), (command.upgrade, "0008")):
            worker.goes_on()
            move(ALEMBIC, revision)
            assert watch.held_up == [], revision
        worker.goes_on()
    assert worker.failures == []


# A sale of a later range, with a purchase and a movement.
LATER = """
    SELECT setval('flash_sales_id_seq', 55555);
    INSERT INTO flash_sales (title, product_id, currency, total_stock, starts_at, hold_seconds, state, end_reason)
    VALUES ('Later', 1, 'USD', 1, now(), 600, 'ended', 'time-ended');
    INSERT INTO purchases (sale_id, ticket, user_id, kind, quantity, status, currency, nonce, admitted_at, settled_at,
                           revision)
    VALUES (55556, 1, 1, 'purchase', 1, 'confirmed', 'USD', '1', now(), now(), 1);
    INSERT INTO stock_movements (sale_id, kind, quantity, reason) VALUES (55556, 'initial', 1, 'made')
"""
IN_BOTH = (
    "SELECT (SELECT array_agg(p ORDER BY p) FROM purchases p), (SELECT array_agg(m ORDER BY m) FROM stock_movements m)"
)


def test_ranges_become_one_table_again_with_every_row(empty):
    command.upgrade(ALEMBIC, "0009")
    run_sql(FILL)
    with database.engine().connect() as connection:
        before = catalogue(connection)
    command.upgrade(ALEMBIC, "0010")
    run_sql(LATER)
    with database.engine().connect() as connection:
        rows = connection.execute(text(IN_BOTH)).one()

    run_sql("INSERT INTO history_archives VALUES (0, 20000, now(), 1, 1, 1, NULL)")
    with pytest.raises(RuntimeError, match="bring it back first"):
        command.downgrade(ALEMBIC, "0009")
    run_sql("DELETE FROM history_archives")
    command.downgrade(ALEMBIC, "0009")

    with database.engine().connect() as connection:
        assert connection.execute(text(IN_BOTH)).one() == rows
        after = catalogue(connection)
        newest = connection.execute(
            text("SELECT max(id), nextval('stock_movements_id_seq') FROM stock_movements")
        ).one()
    assert newest == (ROWS + 1, ROWS + 2)
    unproven = {(table, name, rule.removesuffix(" NOT VALID")) for table, name, rule in after.pop("constraints")}
    assert unproven == before.pop("constraints")
    assert after == before


@pytest.mark.parametrize(
    "hasty",
    [
        "CREATE INDEX hasty ON purchases (quantity)",
        "ALTER TABLE purchases ADD CONSTRAINT hasty CHECK (quantity < 1000)",
        "ALTER TABLE stock_movements ADD COLUMN hasty double precision DEFAULT random()",
        "ALTER TABLE purchases ALTER COLUMN reason TYPE varchar(100)",
        """ALTER TABLE purchases DETACH PARTITION purchases_r0;
           ALTER TABLE purchases ATTACH PARTITION purchases_r0 FOR VALUES FROM (MINVALUE) TO (10000)""",
    ],
    ids=["index", "check", "column", "type", "range"],
)
def test_a_migration_that_would_hold_buyers_up_is_found(empty, hasty):
    """The control."""
    command.upgrade(ALEMBIC, "head")
    run_sql(FILL)
    with watching() as watch, database.transaction() as session:
        session.execute(text(hasty))

    assert watch.held_up
    assert all(rows >= ROWS for _, rows in watch.held_up)


def test_adding_what_is_not_looked_at_is_no_matter(empty):
    command.upgrade(ALEMBIC, "head")
    run_sql(FILL)
    with watching() as watch, database.transaction() as session:
        session.execute(text("ALTER TABLE purchases ADD COLUMN quick bigint DEFAULT 7"))
        session.execute(text("ALTER TABLE purchases ADD CONSTRAINT quick CHECK (quantity < 1000) NOT VALID"))

    assert watch.held_up == []
