"""A migration holds up nobody who buys: none reads a large table while it holds a lock that its writers wait for.

How long that would take is not measured: a transaction that has such a lock, and reads more of the table than a glance,
takes as long as the table is large.
"""

import threading

import psycopg
import pytest
from alembic import command
from sqlalchemy import text

from models import database
from models.audit import audit_sale
from models.gate import admit
from models.movement import StockMovement
from models.purchase import Kind
from models.sale import FlashSale
from models.settings import settings
from models.settle import settle_turn
from tests.cluster.migrating import ALEMBIC, FILL, REVISIONS, ROWS, WAITING, Worker, run_sql, watching
from tests.cluster.migrating import empty as empty  # noqa: PLC0414 - a fixture
from tests.cluster.replicas import eventually
from tests.models.test_migrations import catalogue


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
