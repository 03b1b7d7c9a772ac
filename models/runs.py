"""A run: one sale made from a series for one occurrence, with fresh stock, or the reason why it cannot be.

Order of locks, here and in all that plans: the series' row, the product's row, the month's counters, the sales.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.allotments import count_run, draw, give_back, uncount_run
from models.constraints import violates
from models.database import database_now
from models.months import month_of, zone_of
from models.movement import MovementKind, StockMovement
from models.product import Product
from models.sale import EndReason, FlashSale, SaleState
from models.sale_rules import touch
from models.series import RunOutcome, Series, SeriesRun, SkipReason

ACTIVE = (SaleState.SCHEDULED, SaleState.LIVE)


class SkippedError(Exception):
    """A run that cannot be made, and why."""

    def __init__(self, reason: SkipReason) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One run that a series' rule asks for, or that an operator does. Times are aware UTC."""

    run_at: datetime
    ends_at: datetime | None
    by_hand: bool = False


def lock_series(session: Session, series_id: int, *, skip_locked: bool = False) -> Series | None:
    """The series' row under its lock; None if there is none, or if it is locked and those are skipped."""
    query = select(Series).where(Series.id == series_id).with_for_update(key_share=True, skip_locked=skip_locked)
    return session.scalar(query)


def lock_product(session: Session, product_id: int) -> Product:
    """The product's row, locked against others who would make a sale of it; archived or not."""
    query = select(Product).where(Product.id == product_id).with_for_update(key_share=True, of=Product)
    return session.scalars(query).one()


def make_run(
    session: Session,
    series: Series,
    product: Product,
    wanted: Occurrence,
    now: datetime,
    *,
    actor_id: int | None = None,
) -> FlashSale:
    """Make the sale of an occurrence, draw its stock, count it and record it. Series and product are locked.

    Raises SkippedError with the reason, and has then changed nothing.
    """
    month = month_of(wanted.run_at, zone_of(series.zone))
    try:
        with session.begin_nested():
            sale = _sale_of(series, product, wanted, now)
            if not count_run(session, series, month):
                raise SkippedError(SkipReason.RUNS_EXHAUSTED)
            sale.month = month
            sale.total_stock = draw(session, product, month, series.stock_per_run)
            if sale.total_stock == 0:
                raise SkippedError(SkipReason.ALLOTMENT_EXHAUSTED)
            session.add(sale)
            session.flush()
    except IntegrityError as error:
        if violates(error, "ex_flash_sales_one_at_a_time"):
            raise SkippedError(SkipReason.ACTIVE_SALE) from error
        raise
    reason = "restarted" if wanted.by_hand else "a run of its series"
    session.add(
        StockMovement(
            sale_id=sale.id, kind=MovementKind.INITIAL, quantity=sale.total_stock, actor_id=actor_id, reason=reason
        )
    )
    record_run(session, series, wanted, now, sale=sale)
    session.refresh(sale)
    return sale


def price_of(product: Product, asked: Decimal | None) -> Decimal | None:
    """What a run costs: what was asked, or the product's own price. Raises SkippedError where that is no offer."""
    if asked is None:
        return product.price
    if product.price is None or asked >= product.price:
        raise SkippedError(SkipReason.PRICE_NOT_BELOW)
    return asked


def _sale_of(series: Series, product: Product, wanted: Occurrence, now: datetime) -> FlashSale:
    if product.archived_at is not None:
        raise SkippedError(SkipReason.PRODUCT_ARCHIVED)
    return FlashSale(
        product_id=product.id,
        series_id=series.id,
        run_at=wanted.run_at,
        title=series.title,
        description=series.description,
        original_price=product.price,
        flash_price=price_of(product, series.flash_price),
        currency=product.currency,
        starts_at=wanted.run_at,
        ends_at=wanted.ends_at,
        state=SaleState.LIVE if wanted.run_at <= now else SaleState.SCHEDULED,
        max_per_purchase=series.max_per_purchase,
        max_per_user=series.max_per_user,
        hold_seconds=series.hold_seconds,
    )


def record_run(
    session: Session,
    series: Series,
    wanted: Occurrence,
    now: datetime,
    *,
    sale: FlashSale | None = None,
    skipped: SkipReason | None = None,
) -> None:
    """Write down what became of an occurrence, over what was written before; nothing if that says the same."""
    values = {
        "month": month_of(wanted.run_at, zone_of(series.zone)),
        "outcome": RunOutcome.SKIPPED if skipped else RunOutcome.MADE,
        "reason": skipped,
        "sale_id": sale.id if sale else None,
        "stock": sale.total_stock if sale else 0,
        "by_hand": wanted.by_hand,
        "decided_at": now,
    }
    statement = insert(SeriesRun).values(series_id=series.id, run_at=wanted.run_at, **values)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[SeriesRun.series_id, SeriesRun.run_at],
            set_=values,
            where=SeriesRun.reason.is_distinct_from(statement.excluded.reason)
            | SeriesRun.sale_id.is_distinct_from(statement.excluded.sale_id),
        )
    )


def withdraw_runs(session: Session, series: Series, now: datetime) -> list[FlashSale]:
    """Take back what was scheduled and has not started: its stock and its place in the month's count with it.

    Nobody can have bought: the gate opens at the start. The series is locked; returns the sales that changed.
    """
    scheduled = select(FlashSale).where(
        FlashSale.series_id == series.id,
        FlashSale.state == SaleState.SCHEDULED,
        # Read again here: whoever waited for the lock may hold an old time, and a gate that has opened stays open.
        FlashSale.starts_at > max(now, database_now(session)),
        FlashSale.run_at.is_not(None),
    )
    sales = list(session.scalars(scheduled.order_by(FlashSale.id).with_for_update()))
    for sale in sales:
        run = session.get_one(SeriesRun, (series.id, sale.run_at))
        give_back(session, series.product_id, run.month, run.stock)
        uncount_run(session, series.id, run.month)
        run.outcome, run.stock, run.decided_at = RunOutcome.WITHDRAWN, 0, now
        sale.state, sale.end_reason = SaleState.CANCELLED, EndReason.CANCELLED
        # Its occurrence is free again: a series that is resumed makes it anew.
        sale.run_at, sale.archived_at = None, now
        touch(sale, now)
    session.flush()
    return sales


def make_room(session: Session, series: Series, starts_at: datetime, now: datetime) -> list[FlashSale]:
    """End the series' earlier runs where the next begins, if they would go on beyond; returns the sales that changed.

    Only a run whose end was set by another rule, or by hand, does.
    """
    earlier = select(FlashSale).where(
        FlashSale.series_id == series.id,
        FlashSale.state.in_(ACTIVE),
        FlashSale.starts_at < starts_at,
        FlashSale.ends_at.is_(None) | (FlashSale.ends_at > starts_at),
    )
    sales = list(session.scalars(earlier.order_by(FlashSale.id).with_for_update()))
    for sale in sales:
        sale.ends_at = starts_at
        touch(sale, now)
    session.flush()
    return sales
