"""Everything hot lives with its sale: proved from PostgreSQL's catalogue, its plans and what a turn left behind.

A database that is split by sale (Citus, or one PostgreSQL a range of sales) can then hold any sale whole on one node:
no statement under a sale's lock asks a second node, and no unique key needs two of them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from models.database import engine, transaction
from models.gate import admit
from models.holds import cancel, checkout, expire_due_holds, refund
from models.purchase import Kind, Purchase
from models.receipts import Claim
from models.sale import FlashSale
from models.sale_ranges import keep_ranges
from models.series import Series
from models.settle import settle_turn
from tests.history.conftest import ranges as ranges  # noqa: PLC0414 - a fixture, for the tests below

# The tables of a sale, and their column that says which; its own row is one of them.
SHARDED = {"flash_sales": "id", "purchases": "sale_id", "stock_movements": "sale_id", "buyer_totals": "sale_id"}

# What else is touched by what a buyer does, and why that is no hindrance.
BESIDE = {
    "users": "reference data: the names beside the leaderboard's first page, which is read anew after the commit",
    "products": "reference data: that the sale's product is there is checked where its row is written twice",
    "series": "one row, read by its key: the monthly limit of a run's series. A copy on every node is good enough",
    "buyer_months": "what a buyer has of all runs of a month together cannot live with one of them",
    "receipts": "an Idempotency-Key of a checkout or refund is unique for its user, whatever sale it was used for",
}
# The unique keys of sharded tables that span sales, and why.
ACROSS_SALES = {
    "uq_flash_sales_active_product": "one sale of a product at a time: asked when a sale is planned, paused or opened",
    "ex_flash_sales_one_at_a_time": "as above, for runs of a series",
    "uq_flash_sales_series_id_run_at": "an occurrence becomes one sale: asked when it is planned",
}

# The unique keys and exclusions of a table with their columns, in order.
UNIQUE_KEYS = text("""
    SELECT key.relname,
           array(SELECT pg_get_indexdef(index.indexrelid, position, true)
                 FROM generate_series(1, index.indnkeyatts) AS position)
    FROM pg_index AS index JOIN pg_class AS key ON key.oid = index.indexrelid
    WHERE index.indrelid = CAST(:name AS regclass) AND (index.indisunique OR index.indisexclusion)
""")
# Where the foreign keys of a table point at, from which columns.
FOREIGN_KEYS = text("""
    SELECT confrelid::regclass::text,
           array(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS place (number, position)
                 JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY position)
    FROM pg_constraint WHERE contype = 'f' AND conrelid = CAST(:name AS regclass)
""")
# Every table on which this transaction holds a lock: whatever it touched, by whatever statement.
TOUCHED = """
    SELECT DISTINCT relation::regclass::text, inhparent::regclass::text
    FROM pg_locks JOIN pg_class ON pg_class.oid = relation LEFT JOIN pg_inherits ON inhrelid = relation
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relkind IN ('r', 'p')
      AND relnamespace = 'public'::regnamespace
"""
# The sales whose rows this transaction wrote.
WRITTEN = "SELECT DISTINCT {column} FROM {table} WHERE xmin = pg_current_xact_id_if_assigned()::xid"


@dataclass
class Seen:
    """What transactions did: the tables that each touched, the parts of tables, the sales that each wrote, and every
    plan."""

    touched: list[set[str]] = field(default_factory=list)
    parts: list[set[str]] = field(default_factory=list)
    written: list[set[int]] = field(default_factory=list)
    plans: list[tuple[str, Any]] = field(default_factory=list)


@pytest.fixture
def watch(store) -> Iterator[Callable[[], Seen]]:
    """watch() -> what every transaction from here on does"""
    seen = Seen()
    is_asking = False

    def explain(conn: Connection, _cursor, statement: str, parameters, _context, executemany: bool) -> None:
        nonlocal is_asking
        if is_asking or not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement):
            return
        is_asking = True
        try:
            first = parameters[0] if executemany else parameters
            [plan] = conn.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", first).scalar_one()
        finally:
            is_asking = False
        seen.plans.append((statement, plan["Plan"]))

    def note(conn: Connection) -> None:
        nonlocal is_asking
        is_asking = True
        try:
            touched = conn.exec_driver_sql(TOUCHED).all()
            seen.touched.append({whole or table for table, whole in touched})
            seen.parts.append({table for table, whole in touched if whole})
            written: set[int] = set()
            for table, column in SHARDED.items():
                written |= set(conn.exec_driver_sql(WRITTEN.format(table=table, column=column)).scalars())
            seen.written.append(written)
        finally:
            is_asking = False

    def begin() -> Seen:
        event.listen(engine(), "before_cursor_execute", explain)
        event.listen(engine(), "commit", note)
        return seen

    yield begin
    if event.contains(engine(), "commit", note):
        event.remove(engine(), "before_cursor_execute", explain)
        event.remove(engine(), "commit", note)


@pytest.fixture
def make_run(make_product, make_sale) -> Callable[..., FlashSale]:
    """make_run(…) -> a run of a series with a monthly limit, as make_sale"""

    def make(**fields: Any) -> FlashSale:
        product = make_product()
        with transaction() as session:
            series = Series(
                product_id=product.id,
                title="Fridays",
                rule="FREQ=WEEKLY",
                starts_local=datetime(2026, 1, 2, 12),  # noqa: DTZ001 - on the wall clock
                zone="UTC",
                planned_from=session.scalar(text("SELECT now()")),
                stock_per_run=10,
                hold_seconds=600,
                max_per_user_month=5,
            )
            session.add(series)
        moment = {"run_at": series.planned_from, "month": series.planned_from.date().replace(day=1)}
        return make_sale(product_id=product.id, series_id=series.id, max_per_user=3, **moment, **fields)

    return make


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def whole_of(node: dict[str, Any]) -> str:
    """The table that a plan's node reads or writes, by whichever of its parts."""
    return re.sub(r"_r\d+$", "", node.get("Relation Name", ""))


def is_pinned(node: dict[str, Any], column: str, to: str) -> bool:
    conditions = " ".join(str(node.get(each, "")) for each in ("Index Cond", "Recheck Cond", "Filter"))
    return re.search(rf"\b{column} = {to}", conditions) is not None


def strays(plans: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """(table, statement) of every read of a sharded table that does not say which one sale it is about."""
    found = []
    for statement, plan in plans:
        reads = [(whole_of(node), node) for node in nodes(plan) if whole_of(node) in SHARDED]
        # What is joined to one sale's row, by its key, is that sale's too.
        has_sale = any(table == "flash_sales" and is_pinned(node, "id", r"'?\d") for table, node in reads)
        for table, node in reads:
            if node["Node Type"] == "ModifyTable" or is_pinned(node, SHARDED[table], r"'?\d"):
                continue
            if not (has_sale and is_pinned(node, SHARDED[table], r"sale\.id\b")):
                found.append((table, " ".join(statement.split())))
    return found


def unique_keys(connection: Connection, table: str) -> dict[str, list[str]]:
    return {row[0]: row[1] for row in connection.execute(UNIQUE_KEYS, {"name": table})}


def everything_that_a_buyer_can_do(sale_id: int) -> None:
    """Bought, bought again with the same key, held, checked out, cancelled, expired and refunded."""
    for user in range(1, 6):
        admit(sale_id, user, Kind.PURCHASE, 1, idempotency_key="once")
    holds = [admit(sale_id, user, Kind.RESERVATION, 1, idempotency_key="hold").ticket for user in range(6, 9)]
    settle_turn(sale_id)
    checkout(sale_id, holds[:1], 6, claim=Claim(6, f"checkout {sale_id}", "checkout"))
    cancel(sale_id, holds[1:2], 7)
    refund(sale_id, 1, actor_id=1, reason="broken", claim=Claim(1, f"refund {sale_id}", "refund"))
    with transaction() as session:
        session.get_one(Purchase, (sale_id, holds[2])).expires_at = session.scalar(
            text("SELECT clock_timestamp() - interval '1 minute'")
        )


@pytest.mark.parametrize("table", SHARDED)
def test_every_unique_key_of_what_lives_with_a_sale_begins_with_the_sale(servers, table):
    with engine().connect() as connection:
        keys = unique_keys(connection, table)

    assert keys
    assert {name for name, columns in keys.items() if columns[0] != SHARDED[table]} <= set(ACROSS_SALES)


def test_the_keys_that_span_sales_are_those_that_are_written_down(servers):
    with engine().connect() as connection:
        keys = {name for table in SHARDED for name in unique_keys(connection, table)}

    assert set(ACROSS_SALES) <= keys, "and no reason outlives its key"


@pytest.mark.parametrize("table", sorted(set(SHARDED) - {"flash_sales"}))
def test_what_lives_with_a_sale_points_at_nothing(servers, table):
    """A sale's own row points at its product and series, which are copied to wherever it lives."""
    with engine().connect() as connection:
        assert connection.execute(FOREIGN_KEYS, {"name": table}).all() == []
        assert connection.execute(FOREIGN_KEYS, {"name": "flash_sales"}).all() != [], "the question finds some"


@pytest.mark.parametrize("kind", ["sale", "run"])
def test_nothing_that_a_buyer_does_touches_a_second_sale(ranges, watch, make_sale, make_run, kind):
    keep_ranges()
    with engine().connect() as connection:
        ranges_there = connection.execute(
            text("SELECT count(*) FROM sale_ranges WHERE whole = 'purchases'")
        ).scalar_one()
    assert ranges_there > 1, "there is another range to stray into"
    other = make_sale()
    everything_that_a_buyer_can_do(other.id)
    sale = (make_run if kind == "run" else make_sale)(total_stock=10)
    seen = watch()

    everything_that_a_buyer_can_do(sale.id)

    assert set().union(*seen.touched) >= set(SHARDED), "the turn did something"
    assert set().union(*seen.touched) <= set(SHARDED) | set(BESIDE)
    assert {frozenset(written) for written in seen.written} <= {frozenset(), frozenset({sale.id})}
    assert frozenset({sale.id}) in {frozenset(written) for written in seen.written}
    assert len(seen.plans) > 10
    assert strays(seen.plans) == []
    assert set().union(*seen.parts) == {"purchases_r0", "stock_movements_r0"}, "and no other month's"


def test_what_time_does_asks_all_sales_which_are_due_and_then_each_by_itself(watch, make_sale):
    """The one question across sales is a chore's, without a lock: which sales have holds that ran out."""
    sales = [make_sale(), make_sale()]
    for sale in sales:
        everything_that_a_buyer_can_do(sale.id)
    seen = watch()

    assert expire_due_holds() == 2

    across = strays(seen.plans)
    assert {table for table, _ in across} == {"purchases"}
    assert all("SELECT DISTINCT" in statement for _, statement in across)
    assert sorted(map(sorted, filter(None, seen.written))) == [[sale.id] for sale in sales]


def test_a_statement_that_forgets_its_sale_is_found(watch, make_sale):
    """The control."""
    sale, other = make_sale(), make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    settle_turn(sale.id)
    seen = watch()

    with transaction() as session:
        session.execute(text("UPDATE purchases SET revision = revision WHERE user_id = 1"))
        session.execute(
            text("UPDATE flash_sales SET revision = revision WHERE id = ANY(:ids)"), {"ids": [sale.id, other.id]}
        )

    assert sorted({table for table, _ in strays(seen.plans)}) == ["flash_sales", "purchases"]
    assert seen.written == [{sale.id, other.id}]


def test_a_key_without_its_sale_is_found(servers):
    """The control."""
    with engine().connect() as connection:
        connection.execute(text("CREATE UNIQUE INDEX ix_tickets_alone ON buyer_totals (first_ticket, sale_id)"))
        keys = unique_keys(connection, "buyer_totals")
        connection.rollback()

    assert keys["ix_tickets_alone"][0] != SHARDED["buyer_totals"]
