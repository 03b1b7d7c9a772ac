"""Months of sales that are over, in ranges of their own; what a test detached or dropped is no other test's."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from models.audit import audit_sale
from models.database import engine, transaction
from models.gate import admit
from models.holds import cancel, refund
from models.purchase import Kind
from models.sale import FlashSale
from models.sale_ranges import RANGE_SALES
from models.sales import end_sale
from models.settle import settle_turn
from tests.pipeline.conftest import processes as processes  # noqa: PLC0414 - a fixture, for the tests beside this file

LEFT = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
      AND relname ~ '^(purchases|stock_movements)_r[1-9]'
"""
ROWS = {
    "purchases": "SELECT purchases::text FROM purchases ORDER BY sale_id, ticket",
    "stock_movements": "SELECT stock_movements::text FROM stock_movements ORDER BY sale_id, id",
}

FIRST = 20_000
FOLDER = f"sales-{FIRST}-{FIRST + RANGE_SALES - 1}"
TABLES = ("purchases", "stock_movements")


def run_sql(statement: str, **values: Any) -> Any:
    """The first value of a statement's answer, if it has one; committed."""
    with transaction() as session:
        result = session.execute(text(statement), values)
        return result.scalar() if result.returns_rows else None


def rows() -> dict[str, list[str]]:
    """Everything in both tables, as PostgreSQL writes it."""
    with engine().connect() as connection:
        return {table: list(connection.execute(text(query)).scalars()) for table, query in ROWS.items()}


def next_sale_is(sale_id: int) -> None:
    run_sql("SELECT setval('flash_sales_id_seq', :sale_id, false)", sale_id=sale_id)


def tables() -> set[str]:
    with engine().connect() as connection:
        names = [f"{table}_r{FIRST}" for table in TABLES]
        return set(
            connection.execute(
                text("SELECT relname FROM pg_class WHERE relname = ANY(:names)"), {"names": names}
            ).scalars()
        )


def is_of(row: str, sales: list) -> bool:
    """Whether this row, as PostgreSQL writes it, belongs to one of the sales: their ids are in no other column."""
    return any(str(sale.id) in row.strip("()").split(",") for sale in sales)


def is_marked(sale_id: int) -> bool:
    return audit_sale(sale_id).history_archived_at is not None


@pytest.fixture
def ranges(store) -> Iterator[None]:
    """Whatever becomes of the ranges but the first, it is no other test's."""
    yield
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in connection.execute(text(LEFT)).scalars().all():
            connection.execute(text(f"DROP TABLE {name}"))


@pytest.fixture
def make_month(ranges, make_sale) -> Callable[..., list[FlashSale]]:
    """make_month(20_000) -> two sales, long over, in the range that begins there; the next is made in the one after.

    They have every kind of row: bought, held and cancelled, refunded, refused, and texts that a file must not spoil.
    """

    def make(first: int) -> list[FlashSale]:
        next_sale_is(first)
        sales = [make_sale(total_stock=5), make_sale(total_stock=5)]
        for sale in sales:
            for user in range(1, 4):
                admit(sale.id, user, Kind.PURCHASE, 1, idempotency_key=f'a "key", {user}')
            hold = admit(sale.id, 9, Kind.RESERVATION, 1).ticket
            admit(sale.id, 10, Kind.PURCHASE, 4)
            settle_turn(sale.id)
            cancel(sale.id, [hold], 9)
            refund(sale.id, 1, actor_id=1, reason='broken,\r\n"quite"\n\\N')
            end_sale(sale.id)
        run_sql("UPDATE purchases SET idempotency_key = '' WHERE ticket = 2 AND sale_id >= :first", first=first)
        make_old(first)
        next_sale_is(first + RANGE_SALES)
        return sales

    return make


def make_old(first: int) -> None:
    """Nothing of the sales from this one on has changed for over a week."""
    run_sql("UPDATE flash_sales SET updated_at = now() - interval '8 days' WHERE id >= :first", first=first)
