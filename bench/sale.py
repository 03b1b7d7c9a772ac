"""Sales for measuring, and whether their counts agree afterwards."""

import secrets
import time
from datetime import timedelta
from decimal import Decimal

import psycopg

from bench.stack import Stack
from models import rediskeys
from models.audit import audit_sale
from models.clock import now
from models.database import transaction
from models.product import Product
from models.redisclient import redis_client
from models.sales import STOCK_MAX, NewSale, create_sale
from models.settings import settings
from models.settle import settle_turn
from ops.errors import OpsError

POLL_SECONDS = 0.01
PRICE, FLASH_PRICE = Decimal(10), Decimal(5)


def new_sale(title: str, *, stock: int = STOCK_MAX) -> int:
    """A sale that has been open for a day; by default nobody is refused for want of units.

    For a day: a line may be put before it whose requests are older than the sale.
    """
    with transaction() as session:
        product = Product(name=title, slug=f"bench-{secrets.token_hex(6)}", price=PRICE)
        session.add(product)
    opened_at = now() - timedelta(days=1)
    return create_sale(NewSale(product.id, title, opened_at, flash_price=FLASH_PRICE, total_stock=stock), actor_id=None)


def line_length(sale_id: int) -> int:
    """How many requests wait."""
    return int(redis_client().xlen(rediskeys.mailbox(sale_id)))


def settle_all(sale_id: int) -> None:
    """Settle the whole line in this process, where no worker runs."""
    while settle_turn(sale_id).more:
        pass


def wait_until_settled(stack: Stack, sale_id: int, through: int, *, seconds_max: float) -> float:
    """The moment (seconds since the epoch) at which PostgreSQL has settled so many; raises OpsError if it is late."""
    deadline = time.monotonic() + seconds_max
    with psycopg.connect(stack.settings.psycopg_url, autocommit=True) as database:
        while time.monotonic() < deadline:
            row = database.execute("SELECT settled_through FROM flash_sales WHERE id = %s", (sale_id,)).fetchone()
            if row is not None and row[0] >= through:
                return time.time()
            time.sleep(POLL_SECONDS)
    raise OpsError(f"the line of sale {sale_id} was not settled through {through} in {seconds_max} s")


def wait_until_line_is_empty(sale_id: int, seconds_max: float = 60) -> None:
    """Return when nobody waits any more; raises OpsError if that takes too long."""
    deadline = time.monotonic() + seconds_max
    while line_length(sale_id):
        if time.monotonic() > deadline:
            raise OpsError(f"the line of sale {sale_id} is not settled after {seconds_max} s")
        time.sleep(POLL_SECONDS)


def exactness(sale_id: int, *, at_least: int = 0, refusals: bool = False) -> str:
    """In a line: how many requests were settled and what was sold.

    Raises OpsError where the counts do not agree, and where somebody was rejected though nobody should be: what is
    rejected costs less than what is sold.
    """
    audit = audit_sale(sale_id)
    settled, rejected = sum(audit.tickets_by_status.values()), audit.tickets_by_status.get("rejected", 0)
    wrong = [check.name for check in audit.checks if not check.agrees]
    if wrong or line_length(sale_id) or settled < at_least:
        raise OpsError(f"sale {sale_id} is not right: {wrong}, {settled} of at least {at_least} settled")
    if rejected and not refusals:
        raise OpsError(f"of sale {sale_id} {rejected} of {settled} requests were rejected")
    with psycopg.connect(settings().psycopg_url, autocommit=True) as database:
        row = database.execute("SELECT sold, total_stock FROM flash_sales WHERE id = %s", (sale_id,)).fetchone()
    sold, stock = row or (0, 0)
    return f"{settled:,} requests settled once each, {sold:,} of {stock:,} units sold; the audit agrees"
