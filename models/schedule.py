"""What time brings: sales open and close, holds run out, lines that nobody woke are found.

Every function may be run twice at once, late, early or not at all: each looks for rows that are due, locks them,
changes them, commits, and tells afterwards. The gate opens and closes to the millisecond without any of this.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from models import mailbox, rediskeys
from models.announce import announce, rebuild_view, tell
from models.database import database_now, transaction
from models.redisclient import REDIS_AWAY, read_count, redis_client
from models.sale import EndReason, FlashSale, SaleState
from models.sale_queries import snapshots_of
from models.sale_rules import touch
from models.shards import Shards, now_ms
from models.snapshot import SaleSnapshot

log = structlog.get_logger()

# Rows that one transaction locks at most.
PAGE = 100
# Sales that ended this recently are still looked after: their lines may not be empty yet.
RECENT = func.make_interval(0, 0, 0, 7)
STALE_LINE_MS = 2_000


def open_due_sales() -> int:
    """Open the sales whose start has come; returns how many."""

    def start(sale: FlashSale) -> None:
        sale.state = SaleState.LIVE

    return _advance(FlashSale.state == SaleState.SCHEDULED, FlashSale.starts_at, start)


def close_due_sales() -> int:
    """End the sales whose end has come; returns how many."""

    def end(sale: FlashSale) -> None:
        sale.state = SaleState.ENDED
        sale.end_reason = EndReason.TIME_ENDED

    active = FlashSale.state.in_((SaleState.SCHEDULED, SaleState.LIVE))
    return _advance(active, FlashSale.ends_at, end)


def _advance(
    which: ColumnElement[bool], due_at: InstrumentedAttribute[Any], change: Callable[[FlashSale], None]
) -> int:
    """Change the due sales page by page. A row that somebody else holds is left for the next tick."""
    changed = 0
    while True:
        with transaction() as session:
            now = database_now(session)
            due = session.scalars(
                select(FlashSale)
                .where(which, due_at <= now)
                .order_by(due_at)
                .limit(PAGE)
                .with_for_update(skip_locked=True)
            ).all()
            for sale in due:
                change(sale)
                touch(sale, now)
            session.flush()
            snapshots = [SaleSnapshot.of(sale) for sale in due]
        for snapshot in snapshots:
            tell(snapshot)
        changed += len(snapshots)
        if len(snapshots) < PAGE:
            return changed


@dataclass(frozen=True, slots=True)
class StaleLine:
    """A sale whose oldest request has waited too long; `waited_ms` is 0 where its age cannot be told."""

    sale_id: int
    waited_ms: int


def sweep_lines() -> list[StaleLine]:
    """Tell what Redis missed, and find the sales whose line waits though nobody is coming.

    The sales of a cluster's lost shard are passed over: it is waited for once, and the others go on. Raises what
    PostgreSQL or Redis raise when they are away.
    """
    shards = Shards()
    stale: list[StaleLine] = []
    for page in _pages_of_current_sales():
        for found in shards.ask(page, lambda sale: rediskeys.view(sale.sale_id), _sweep):
            stale += found
    for shard, lost in shards.lost.items():
        log.warning("sweep.shard_lost", shard=shard, error=type(lost.error).__name__)
    shards.raise_without_any()
    return stale


def _sweep(sales: list[SaleSnapshot], node: Any) -> list[StaleLine]:
    # Before the lines are read: what comes meanwhile has not waited.
    at_ms = now_ms(node)
    _retell(sales)
    stale = []
    for sale_id, admitted_ms in mailbox.oldest_waits([sale.sale_id for sale in sales]).items():
        waited_ms = at_ms - admitted_ms if admitted_ms is not None else 0
        # One from far ahead came before the clock was set back. One from a moment ahead came while this was asked.
        if admitted_ms is None or abs(waited_ms) >= STALE_LINE_MS:
            stale.append(StaleLine(sale_id, max(waited_ms, 0)))
    return stale


def _pages_of_current_sales() -> Iterator[list[SaleSnapshot]]:
    last_id = 0
    while True:
        with transaction() as session:
            current = or_(
                FlashSale.state.in_((SaleState.SCHEDULED, SaleState.LIVE)),
                FlashSale.updated_at > func.now() - RECENT,
            )
            query = select(FlashSale).where(FlashSale.id > last_id, current).order_by(FlashSale.id).limit(PAGE)
            page = [SaleSnapshot.of(sale) for sale in session.scalars(query)]
        if page:
            yield page
        if len(page) < PAGE:
            return
        last_id = page[-1].sale_id


def current_sale_ids() -> list[int]:
    """The sales that are scheduled, live, or changed within the last week."""
    return [sale.sale_id for page in _pages_of_current_sales() for sale in page]


def _retell(page: list[SaleSnapshot]) -> None:
    """Announce the sales whose view is behind: somebody crashed between commit and telling, or Redis forgot. What no
    sale ever was is made anew: a view of another time (PostgreSQL was restored), or one that somebody else wrote to."""
    pipeline = redis_client().pipeline(transaction=False)
    for sale in page:
        pipeline.hget(rediskeys.view(sale.sale_id), "revision")
    answers = pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, REDIS_AWAY):
            raise answer
    told = {sale.sale_id: read_count(revision) for sale, revision in zip(page, answers, strict=True)}
    for sale in page:
        if (revision := told[sale.sale_id]) is None or revision < sale.revision:
            announce(sale)
    # A view that is ahead of what was read before it is read again after it: PostgreSQL is never behind what was told.
    ahead = [sale.sale_id for sale in page if (told[sale.sale_id] or 0) > sale.revision]
    for sale in snapshots_of(ahead) if ahead else ():
        if sale.revision < (told[sale.sale_id] or 0):
            log.error("view.spoilt", sale=sale.sale_id, revision=sale.revision, told=told[sale.sale_id])
            rebuild_view(sale.sale_id, instead_of=told[sale.sale_id])
