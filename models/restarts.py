"""Restarting: the next run of the same product with fresh stock, at once, by hand."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.allotments import draw
from models.announce import tell
from models.database import database_now, transaction
from models.errors import ConflictError, DomainError, InvalidError, NotFoundError
from models.months import month_of
from models.movement import MovementKind, StockMovement
from models.product import Product
from models.runs import Occurrence, SkippedError, lock_product, lock_series, make_run, price_of
from models.sale import EndReason, FlashSale, SaleState
from models.sale_rules import SaleNotFoundError, lock_sale, touch
from models.sales import ActiveSaleExistsError, end_overdue, one_active_sale_a_product
from models.series import Series, SkipReason
from models.series_plan import ends_of, recurrence_for
from models.snapshot import SaleSnapshot

# A sale without a series has no zone of its own: its months are those of UTC.
UTC_ZONE = ZoneInfo("UTC")


def restart_sale(sale_id: int, *, actor_id: int | None, now: datetime | None = None) -> int:
    """Make the next run of a sale's product with fresh stock, live at once, and return its id.

    The sale ends now if it is live; who was admitted before this moment is still answered. A sale without a series is
    made again as it was: as much stock, as long. `now` (aware UTC) is PostgreSQL's time unless told.

    Raises SaleNotFoundError, ConflictError (NOT_STARTED, ALLOTMENT_EXHAUSTED, RUNS_EXHAUSTED), InvalidError
    (flashPrice), NotFoundError (PRODUCT_NOT_FOUND), and ActiveSaleExistsError where another sale has taken its place.
    """
    with one_active_sale_a_product(), transaction() as session:
        series, product = _lock_both(session, sale_id)
        old = lock_sale(session, sale_id, in_sight=True)
        moment = now or database_now(session)
        if old.state == SaleState.SCHEDULED and old.starts_at > moment:
            raise ConflictError("The sale has not started", code="NOT_STARTED", data={"startsAt": old.starts_at})
        length = old.ends_at - old.starts_at if old.ends_at else None
        ended = _end(session, old, moment)
        try:
            if series is not None:
                new = _next_run(session, series, product, moment, actor_id)
            else:
                new = _once_more(session, old, product, length, moment, actor_id=actor_id)
        except SkippedError as skip:
            raise _refusal(skip.reason) from skip
        snapshots = [SaleSnapshot.of(sale) for sale in ([old] if ended else []) + [new]]
    for snapshot in snapshots:
        tell(snapshot)
    return new.id


def _lock_both(session: Session, sale_id: int) -> tuple[Series | None, Product]:
    """The sale's series, unless it has none or has ended, and its product: locked before the sale, as planning does."""
    query = select(FlashSale.product_id, FlashSale.series_id)
    found = session.execute(query.where(FlashSale.id == sale_id, FlashSale.archived_at.is_(None))).one_or_none()
    if found is None:
        raise SaleNotFoundError
    series = lock_series(session, found.series_id) if found.series_id is not None else None
    if series is not None and series.ended_at is not None:
        series = None
    return series, lock_product(session, found.product_id)


def _end(session: Session, old: FlashSale, moment: datetime) -> bool:
    if old.state not in (SaleState.SCHEDULED, SaleState.LIVE):
        return False
    if old.ends_at is None or old.ends_at > moment:
        # A sale that began this very instant still has a time.
        old.ends_at = max(moment, old.starts_at + timedelta(microseconds=1))
    old.state, old.end_reason = SaleState.ENDED, EndReason.TIME_ENDED
    touch(old, moment)
    # Before the new one goes in: the database lets only one of them be active.
    session.flush()
    return True


def _next_run(session: Session, series: Series, product: Product, moment: datetime, actor_id: int | None) -> FlashSale:
    following = None if series.paused else recurrence_for(series).next_run(moment)
    wanted = Occurrence(moment, ends_of(series, moment, following), by_hand=True)
    return make_run(session, series, product, wanted, moment, actor_id=actor_id)


def _once_more(
    session: Session,
    old: FlashSale,
    product: Product,
    length: timedelta | None,
    moment: datetime,
    *,
    actor_id: int | None,
) -> FlashSale:
    if product.archived_at is not None:
        raise SkippedError(SkipReason.PRODUCT_ARCHIVED)
    end_overdue(session, product.id, moment)
    stock = draw(session, product, month_of(moment, UTC_ZONE), old.total_stock)
    if stock == 0:
        raise SkippedError(SkipReason.ALLOTMENT_EXHAUSTED)
    sale = FlashSale(
        product_id=product.id,
        title=old.title,
        description=old.description,
        original_price=product.price,
        # A sale at the product's own price stays one, whatever that is now.
        flash_price=price_of(product, None if old.flash_price == old.original_price else old.flash_price),
        currency=product.currency,
        total_stock=stock,
        starts_at=moment,
        ends_at=moment + length if length else None,
        state=SaleState.LIVE,
        featured=old.featured,
        max_per_purchase=old.max_per_purchase,
        max_per_user=old.max_per_user,
        hold_seconds=old.hold_seconds,
        dedicated=old.dedicated,
    )
    session.add(sale)
    session.flush()
    session.add(
        StockMovement(sale_id=sale.id, kind=MovementKind.INITIAL, quantity=stock, actor_id=actor_id, reason="restarted")
    )
    session.refresh(sale)
    return sale


def _refusal(reason: SkipReason) -> DomainError:
    refusals: dict[SkipReason, DomainError] = {
        SkipReason.ACTIVE_SALE: ActiveSaleExistsError(),
        SkipReason.ALLOTMENT_EXHAUSTED: ConflictError(
            "Nothing is left of the product's allotment of this month", code=str(reason)
        ),
        SkipReason.RUNS_EXHAUSTED: ConflictError("The series has had its runs of this month", code=str(reason)),
        SkipReason.PRICE_NOT_BELOW: InvalidError.field("flashPrice", "is not below the product's price any more"),
        SkipReason.PRODUCT_ARCHIVED: NotFoundError("Product not found", code="PRODUCT_NOT_FOUND"),
    }
    return refusals[reason]
