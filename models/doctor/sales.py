"""The sales that are on or due: rows that cannot be meant so, lines that nobody works off, books that disagree."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select

from models import mailbox, rediskeys
from models.audit import audit_sale
from models.database import database_now, transaction
from models.doctor.finding import Finding, critical, warning
from models.product import Product
from models.redisclient import redis_client
from models.sale import FlashSale, SaleState
from models.shards import Shards, now_ms

SOON = timedelta(days=7)
LATE = timedelta(seconds=15)
SHORT = timedelta(seconds=10)
SALES_MAX = 100
AUDITS_MAX = 20
LINE_WAIT_SECONDS_MAX = 10


def look() -> Iterator[Finding]:
    with transaction() as session:
        at = database_now(session)
        active = FlashSale.state.in_((SaleState.SCHEDULED, SaleState.LIVE))
        near = or_(FlashSale.state == SaleState.LIVE, FlashSale.starts_at < at + SOON)
        query = (
            select(FlashSale, Product.archived_at)
            .join(Product, Product.id == FlashSale.product_id)
            .where(active, near, FlashSale.archived_at.is_(None))
            .order_by(FlashSale.starts_at)
            .limit(SALES_MAX)
        )
        rows = [(sale, archived_at is not None) for sale, archived_at in session.execute(query)]
    for sale, product_is_archived in rows:
        yield from _terms(sale, product_is_archived=product_is_archived)
        yield from _times(sale, at)
    yield from _in_redis([sale for sale, _ in rows])
    for sale, _ in rows[:AUDITS_MAX]:
        audit = audit_sale(sale.id)
        if not audit.agrees:
            wrong = ", ".join(check.name for check in audit.checks if not check.agrees)
            what = f"the books of sale {sale.id} do not agree: {wrong}"
            yield critical("AUDIT_DISAGREES", what, "pause it and call somebody; nothing mends it by itself")


def _terms(sale: FlashSale, *, product_is_archived: bool) -> Iterator[Finding]:
    odd = []
    if sale.remaining == 0 and sale.reserved == 0:
        odd.append("has no stock")
    for name, limit in (("maxPerPurchase", sale.max_per_purchase), ("maxPerUser", sale.max_per_user)):
        if limit is not None and limit > sale.total_stock:
            odd.append(f"lets one buyer have {limit} ({name}) of {sale.total_stock} units")
    if (
        sale.max_per_purchase is not None
        and sale.max_per_user is not None
        and sale.max_per_purchase > sale.max_per_user
    ):
        odd.append("allows more in one purchase than to one buyer")
    if sale.flash_price is None:
        odd.append("has no price")
    if product_is_archived:
        odd.append("sells a product that is archived")
    if sale.paused:
        odd.append("is paused")
    for what in odd:
        yield warning(
            "SALE_ODD", f"sale {sale.id} {what}", f"PATCH /api/flash-sales/{sale.id}, or say that it is meant so"
        )


def _times(sale: FlashSale, at: datetime) -> Iterator[Finding]:
    if sale.ends_at is not None and sale.ends_at - sale.starts_at < SHORT:
        seconds = (sale.ends_at - sale.starts_at).total_seconds()
        yield warning(
            "SALE_ODD", f"sale {sale.id} lasts {seconds:.0f} s", f"move its end: PATCH /api/flash-sales/{sale.id}"
        )
    if sale.ends_at is not None and timedelta(seconds=sale.hold_seconds) > sale.ends_at - sale.starts_at:
        what = f"sale {sale.id} is over before its holds are ({sale.hold_seconds} s): units may be left over"
        yield warning("SALE_ODD", what, f"shorter holds, or a later end: PATCH /api/flash-sales/{sale.id}")
    due = sale.starts_at if sale.state == SaleState.SCHEDULED else sale.ends_at
    if due is not None and due < at - LATE:
        what = f"sale {sale.id} is {sale.state} {(at - due).total_seconds():.0f} s after it should not be"
        yield critical(
            "SALE_LATE", what, "beat or the worker of chores is away, or cannot get at its row: see their logs"
        )


def _in_redis(sales: list[FlashSale]) -> Iterator[Finding]:
    """What their shards know of them. One that is lost is a finding, and the others are examined."""
    shards = Shards()
    for found in shards.ask(sales, lambda sale: rediskeys.view(sale.id), _at_a_shard):
        yield from found
    for name, lost in shards.lost.items():
        missed = ", ".join(str(sale.id) for sale in lost.missed)
        what = f"the shard at {name} does not answer ({type(lost.error).__name__}): buyers of sales {missed} get 503"
        yield critical("SHARD_LOST", what, "start one of its nodes; nothing else was found out about their lines")


def _at_a_shard(sales: list[FlashSale], node: Any) -> list[Finding]:
    return [*_views(sales), *_lines([sale.id for sale in sales], now_ms(node))]


def _views(sales: list[FlashSale]) -> Iterator[Finding]:
    """The gate's copy may be missing, for it is rebuilt when somebody asks; it may not stay older than the row."""
    pipeline = redis_client().pipeline(transaction=False)
    for sale in sales:
        pipeline.hget(rediskeys.view(sale.id), "revision")
    for sale, revision in zip(sales, pipeline.execute(), strict=True):
        if revision is not None and int(revision) > sale.revision:
            with transaction() as session:
                newest = session.get_one(FlashSale, sale.id).revision
            if int(revision) > newest:
                what = f"Redis knows a later sale {sale.id} than PostgreSQL: one of them was restored"
                yield critical(
                    "RESTORED_APART", what, "stop everything but the servers: `flask restored` (docs/backup.md)"
                )


def _lines(sale_ids: list[int], at_ms: int) -> Iterator[Finding]:
    for sale_id, admitted_ms in mailbox.oldest_waits(sale_ids).items():
        waited = (at_ms - (admitted_ms or 0)) // 1000
        if admitted_ms is not None and waited > LINE_WAIT_SECONDS_MAX:
            what = f"a request for sale {sale_id} has waited for {waited} s"
            yield critical("LINE_STUCK", what, "see the settling workers' log; the sweeper wakes the sale every 2 s")
