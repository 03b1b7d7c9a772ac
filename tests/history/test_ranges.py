"""Ranges of sales: one begins with the month, and no sale is ever without."""

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.errors import CheckViolation, LockNotAvailable
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from models.audit import audit_sale
from models.database import engine, transaction
from models.gate import admit
from models.purchase import Kind
from models.sale_ranges import RANGE_SALES, RANGES_AHEAD, keep_ranges
from models.settings import settings
from models.settle import settle_turn
from tests.history.conftest import next_sale_is, run_sql

FIRSTS = "SELECT array_agg(first_sale_id ORDER BY first_sale_id) FROM sale_ranges WHERE whole = :whole"


def firsts(whole: str = "purchases") -> list[int]:
    return run_sql(FIRSTS, whole=whole)


def buys_one(sale_id: int) -> None:
    admit(sale_id, 1, Kind.PURCHASE, 1)
    settle_turn(sale_id)
    audit = audit_sale(sale_id)
    assert (audit.agrees, audit.tickets_by_status) == (True, {"confirmed": 1})


def test_ranges_stand_ready_ahead_and_nothing_more_is_made_the_second_time(ranges):
    next_sale_is(30_000)

    assert keep_ranges() >= RANGES_AHEAD
    assert keep_ranges() == 0

    wanted = {30_000 + RANGE_SALES * ahead for ahead in range(RANGES_AHEAD + 1)}
    assert wanted <= set(firsts())
    assert firsts("purchases") == firsts("stock_movements")


def test_the_first_sale_of_a_month_begins_a_range(ranges, make_sale):
    next_month = datetime.now(UTC).replace(day=1) + timedelta(days=32)
    last = make_sale()
    assert last.id < RANGE_SALES

    keep_ranges()
    assert make_sale().id == last.id + 1, "the month goes on"
    for _ in range(2):
        keep_ranges(next_month)
    first = make_sale()
    assert first.id == RANGE_SALES
    run_sql("UPDATE flash_sales SET created_at = :made WHERE id = :id", made=next_month, id=first.id)
    keep_ranges(next_month)
    keep_ranges(next_month - timedelta(days=32))
    assert make_sale().id == RANGE_SALES + 1, "and neither another chore nor one that is late begins it again"
    buys_one(first.id)


def test_a_month_that_nobody_began_is_begun_late(ranges, make_sale):
    old, new = make_sale(), make_sale()
    run_sql("UPDATE flash_sales SET created_at = now() - interval '40 days' WHERE id = :id", id=old.id)

    keep_ranges()

    assert new.id < RANGE_SALES
    assert make_sale().id == RANGE_SALES


def test_chores_at_once_begin_a_month_once_while_sales_are_made(ranges, make_sale):
    make_sale()
    keep_ranges()
    product_ids = [make_sale(state="cancelled", end_reason="cancelled").product_id for _ in range(3)]
    run_sql("UPDATE flash_sales SET created_at = now() - interval '40 days'")
    failures: list[Exception] = []
    made: list[int] = []

    def guarded(work) -> None:
        try:
            work()
        except Exception as why:  # noqa: BLE001 - whatever it is, the test names it
            failures.append(why)

    def make(product_id: int) -> None:
        over = {"product_id": product_id, "state": "cancelled", "end_reason": "cancelled"}
        made.extend(make_sale(**over).id for _ in range(10))

    threads = [threading.Thread(target=guarded, args=(lambda each=each: make(each),)) for each in product_ids]
    threads += [threading.Thread(target=guarded, args=(keep_ranges,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert failures == []
    assert len(set(made)) == 30
    assert all(sale_id < 100 or RANGE_SALES <= sale_id < RANGE_SALES + 100 for sale_id in made)


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "control"])
def test_nobody_is_given_an_id_while_they_move_up(ranges, is_held):
    """Without, the last sale of a range could be given the id that another is given after it."""
    with psycopg.connect(settings().psycopg_url) as chore, psycopg.connect(settings().psycopg_url) as admin:
        if is_held:
            chore.execute("ALTER SEQUENCE flash_sales_id_seq NO CYCLE")
        admin.execute("SET lock_timeout = 300")
        if is_held:
            with pytest.raises(LockNotAvailable):
                admin.execute("SELECT nextval('flash_sales_id_seq')")
        else:
            assert admin.execute("SELECT nextval('flash_sales_id_seq')").fetchone()


def test_a_sale_whose_range_nobody_made_makes_it(ranges, make_sale):
    next_sale_is(470_000)
    assert 470_000 not in firsts()

    sale = make_sale()

    assert sale.id == 470_000
    assert {470_000} <= set(firsts()) & set(firsts("stock_movements"))
    buys_one(sale.id)


def test_two_sales_at_once_make_their_range_once(ranges, make_sale, make_product):
    next_sale_is(480_000)
    products = [make_product().id for _ in range(4)]
    sales: list[int] = []
    threads = [
        threading.Thread(target=lambda each=each: sales.append(make_sale(product_id=each).id)) for each in products
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(sales) == [480_000, 480_001, 480_002, 480_003]
    for sale_id in sales:
        buys_one(sale_id)


def test_without_the_trigger_a_sale_would_stand_without_a_range(ranges, make_sale):
    """The control."""
    product_id = make_sale(state="cancelled", end_reason="cancelled").product_id
    next_sale_is(490_000)
    with engine().connect() as connection:
        connection.execute(text("ALTER TABLE flash_sales DISABLE TRIGGER tr_flash_sales_has_a_range"))
        connection.execute(
            text(
                "INSERT INTO flash_sales (title, product_id, currency, total_stock, starts_at, hold_seconds, state)"
                " VALUES ('A sale', :product, 'USD', 1, now(), 600, 'live')"
            ),
            {"product": product_id},
        )
        with pytest.raises(IntegrityError) as refused:
            connection.execute(
                text("INSERT INTO stock_movements (sale_id, kind, quantity, reason) VALUES (490000, 'initial', 1, 'x')")
            )
        assert isinstance(refused.value.orig, CheckViolation)
        connection.rollback()


@pytest.mark.parametrize("way", ["ours", "control"])
def test_a_range_is_made_beside_whoever_sells(ranges, make_sale, way):
    """Making it as a part at once would wait for every reader and writer, and have all others wait behind it."""
    sale = make_sale()
    with psycopg.connect(settings().psycopg_url) as worker, psycopg.connect(settings().psycopg_url) as chore:
        worker.execute("SELECT 1 FROM flash_sales WHERE id = %s FOR UPDATE", (sale.id,))
        worker.execute("UPDATE flash_sales SET paused = false WHERE id = %s", (sale.id,))
        worker.execute("UPDATE purchases SET revision = 1 WHERE sale_id = %s", (sale.id,))
        chore.execute("SET lock_timeout = 300")
        if way == "ours":
            assert chore.execute("SELECT make_sale_range(500000)").fetchone() == (True,)
            worker.execute("SET lock_timeout = 300")
            worker.execute("UPDATE stock_movements SET reason = 'x' WHERE sale_id = %s", (sale.id,))
            chore.rollback()
        else:
            with pytest.raises(LockNotAvailable):
                chore.execute("CREATE TABLE odd PARTITION OF purchases FOR VALUES FROM (500000) TO (510000)")


def test_a_sale_is_never_deleted(ranges, make_sale, sale_row):
    sale = make_sale()

    with pytest.raises(IntegrityError, match="is history"), transaction() as session:
        session.execute(text("DELETE FROM flash_sales WHERE id = :id"), {"id": sale.id})

    assert sale_row(sale.id).id == sale.id
