"""Making and changing sales: the rules behind the API, each change in one transaction under the sale's row lock."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.announce import tell
from models.clock import to_iso
from models.database import database_now, transaction
from models.errors import ConflictError, InvalidError, NotFoundError
from models.movement import MovementKind, StockMovement
from models.product import Product
from models.sale import EndReason, FlashSale, SaleState
from models.sale_rules import end_if_sold_out, lock_sale, may_reopen, reopen, touch
from models.settings import settings
from models.snapshot import SaleSnapshot

STOCK_MAX = 10_000_000
# The rules of the database that keep a product from being in two sales at once.
ONE_AT_A_TIME = ("uq_flash_sales_active_product", "ex_flash_sales_one_at_a_time")
PLAIN_FIELDS = ("title", "description", "featured", "max_per_purchase", "max_per_user", "hold_seconds", "dedicated")


class ActiveSaleExistsError(ConflictError):
    """One scheduled or live sale a product."""

    code = "ACTIVE_SALE_EXISTS"
    message = "An active flash sale already exists for this product"


@dataclass(frozen=True, slots=True)
class NewSale:
    """What a sale is made from. Prices are Decimal in the product's currency; None takes the default."""

    product_id: int
    title: str
    starts_at: datetime
    ends_at: datetime | None = None
    description: str | None = None
    # None: the product's own price, or none at all for a product that is priced at checkout.
    flash_price: Decimal | None = None
    total_stock: int | None = None
    featured: bool = False
    max_per_purchase: int | None = None
    max_per_user: int | None = None
    hold_seconds: int | None = None
    dedicated: bool = False


@dataclass(slots=True)
class Change:
    """A sale under its lock, in the transaction that changes it."""

    session: Session
    sale: FlashSale
    now: datetime


@contextmanager
def one_active_sale_a_product() -> Iterator[None]:
    """Say what a breach of that rule means: raises ActiveSaleExistsError."""
    try:
        yield
    except IntegrityError as error:
        if any(name in str(error.orig) for name in ONE_AT_A_TIME):
            raise ActiveSaleExistsError from None
        raise


@contextmanager
def changing(sale_id: int) -> Iterator[Change]:
    """Lock a sale, let the block change it, count the change, commit, and tell everyone.

    Raises SaleNotFoundError, also for an archived one, and ActiveSaleExistsError where the change would make a second
    active sale.
    """
    with one_active_sale_a_product(), transaction() as session:
        sale = lock_sale(session, sale_id, in_sight=True)
        now = database_now(session)
        yield Change(session, sale, now)
        touch(sale, now)
        session.flush()
        snapshot = SaleSnapshot.of(sale)
    tell(snapshot)


def create_sale(new: NewSale, *, actor_id: int | None) -> int:
    """Make a sale and return its id. A start in the past opens it at once.

    Raises NotFoundError (PRODUCT_NOT_FOUND), InvalidError with the field, ActiveSaleExistsError.
    """
    with one_active_sale_a_product(), transaction() as session:
        product = session.get(Product, new.product_id, with_for_update={"key_share": True, "of": Product})
        if product is None or product.archived_at is not None:
            raise NotFoundError("Product not found", code="PRODUCT_NOT_FOUND")
        now = database_now(session)
        end_overdue(session, product.id, now)
        total_stock = settings().sale_stock_default if new.total_stock is None else new.total_stock
        _check_stock(total_stock)
        _check_times(new.starts_at, new.ends_at, now)
        sale = FlashSale(
            product_id=product.id,
            title=new.title,
            description=new.description,
            original_price=product.price,
            flash_price=_flash_price(product, new.flash_price),
            currency=product.currency,
            total_stock=total_stock,
            starts_at=new.starts_at,
            ends_at=new.ends_at,
            state=SaleState.LIVE if new.starts_at <= now else SaleState.SCHEDULED,
            featured=new.featured,
            max_per_purchase=new.max_per_purchase,
            max_per_user=new.max_per_user,
            hold_seconds=new.hold_seconds or settings().hold_seconds_default,
            dedicated=new.dedicated,
        )
        session.add(sale)
        session.flush()
        session.add(_movement(sale, MovementKind.INITIAL, total_stock, actor_id, "the sale was made"))
        session.refresh(sale)
        snapshot = SaleSnapshot.of(sale)
    tell(snapshot)
    return sale.id


def patch_sale(sale_id: int, changes: Mapping[str, Any], *, actor_id: int | None) -> None:
    """Change the named fields of a sale (names of FlashSale, and `active`).

    Stock can be raised at any time and lowered only to what is sold and held; a time that is the same as it is shown
    stays. Raises SaleNotFoundError, InvalidError with the field, ConflictError (SALE_STARTED, SALE_CANCELLED),
    ActiveSaleExistsError.
    """
    with changing(sale_id) as change:
        sale = change.sale
        if sale.state == SaleState.CANCELLED and set(changes) - {"title", "description", "featured"}:
            raise ConflictError("A cancelled sale stays cancelled", code="SALE_CANCELLED")
        for name in PLAIN_FIELDS:
            if name in changes:
                setattr(sale, name, changes[name])
        if "active" in changes:
            sale.paused = not changes["active"]
        if "flash_price" in changes:
            sale.flash_price = _checked_price(sale.original_price, changes["flash_price"], "sale", "original price")
        _change_times(change, changes)
        if "total_stock" in changes:
            restock(change, changes["total_stock"], actor_id, "total stock was changed")


def restock(change: Change, total_stock: int, actor_id: int | None, reason: str) -> None:
    """Set a sale's stock. A sale that ended by selling out goes on if it has units and time again."""
    sale = change.sale
    _check_stock(total_stock)
    if total_stock < sale.sold + sale.reserved:
        raise InvalidError.field(
            "totalStock", f"{sale.sold} are sold and {sale.reserved} held already", code="STOCK_BELOW_SOLD"
        )
    difference = total_stock - sale.total_stock
    if difference == 0:
        return
    sale.total_stock = total_stock
    kind = MovementKind.RESTOCK if difference > 0 else MovementKind.SHRINK
    change.session.add(_movement(sale, kind, difference, actor_id, reason))
    if may_reopen(sale, change.now):
        reopen(sale)
    end_if_sold_out(sale)


def pause_sale(sale_id: int) -> None:
    """Refuse new requests at the gate and reject the waiting ones, until the sale is resumed."""
    with changing(sale_id) as change:
        _check_not_over(change.sale)
        change.sale.paused = True


def resume_sale(sale_id: int) -> None:
    with changing(sale_id) as change:
        _check_not_over(change.sale)
        change.sale.paused = False


def end_sale(sale_id: int) -> None:
    """End a sale now. Requests that were admitted before this moment are honoured."""
    with changing(sale_id) as change:
        sale = change.sale
        _check_not_over(sale)
        if sale.state == SaleState.SCHEDULED:
            raise ConflictError("The sale has not started: cancel it instead", code="NOT_STARTED")
        sale.ends_at = change.now
        _end(sale, EndReason.TIME_ENDED)


def cancel_sale(sale_id: int) -> None:
    """Call a sale off: nobody gets in any more, and waiting requests are rejected.

    What was sold stays sold, and a hold is a promise: until it runs out it can be checked out.
    """
    with changing(sale_id) as change:
        _check_not_over(change.sale)
        change.sale.state = SaleState.CANCELLED
        change.sale.end_reason = EndReason.CANCELLED


def archive_sale(sale_id: int) -> None:
    """Take a sale out of sight, and call it off if it is not over: for its holds see `cancel_sale`.

    Its purchases and movements are history and are never erased. The gate says that it is over for as long as Redis
    remembers it, and not that it is unknown: a retry has its first answer there. Raises SaleNotFoundError for one that
    was archived before.
    """
    with changing(sale_id) as change:
        if change.sale.state in (SaleState.SCHEDULED, SaleState.LIVE):
            change.sale.state = SaleState.CANCELLED
            change.sale.end_reason = EndReason.CANCELLED
        change.sale.archived_at = change.now


def _end(sale: FlashSale, reason: EndReason) -> None:
    sale.state = SaleState.ENDED
    sale.end_reason = reason


def _check_not_over(sale: FlashSale) -> None:
    if sale.state in (SaleState.ENDED, SaleState.CANCELLED):
        raise ConflictError("The sale is over", code="ENDED")


def end_overdue(session: Session, product_id: int, now: datetime) -> None:
    """End this product's sale if its time is over and beat has not come by yet, so that it blocks no new one."""
    overdue = session.query(FlashSale).filter(
        FlashSale.product_id == product_id,
        FlashSale.state.in_((SaleState.SCHEDULED, SaleState.LIVE)),
        FlashSale.ends_at <= now,
    )
    for sale in overdue.with_for_update():
        _end(sale, EndReason.TIME_ENDED)
        touch(sale, now)
    session.flush()


def _change_times(change: Change, changes: Mapping[str, Any]) -> None:
    sale, now = change.sale, change.now
    given = {name: changes[name] for name in ("starts_at", "ends_at") if name in changes}
    moved = {name: moment for name, moment in given.items() if not _is_as_shown(getattr(sale, name), moment)}
    if not moved:
        return
    starts_at, ends_at = moved.get("starts_at", sale.starts_at), moved.get("ends_at", sale.ends_at)
    if "starts_at" in moved and sale.state != SaleState.SCHEDULED:
        raise ConflictError("The sale has started: its start cannot be moved", code="SALE_STARTED")
    _check_times(starts_at, ends_at, now)
    sale.starts_at, sale.ends_at = starts_at, ends_at
    if sale.state == SaleState.SCHEDULED and starts_at <= now:
        sale.state = SaleState.LIVE
    elif sale.state == SaleState.ENDED and sale.end_reason == EndReason.TIME_ENDED:
        reopen(sale)
        end_if_sold_out(sale)


def _is_as_shown(kept: datetime | None, given: datetime | None) -> bool:
    """Whether a time says what clients were shown: they never see the microseconds that are kept."""
    return (kept and to_iso(kept)) == (given and to_iso(given))


def _check_times(starts_at: datetime, ends_at: datetime | None, now: datetime) -> None:
    if ends_at is None:
        return
    if ends_at <= starts_at:
        raise InvalidError.field("endTime", "must be after startTime")
    if ends_at <= now:
        raise InvalidError.field("endTime", "must be in the future")


def _check_stock(total_stock: int) -> None:
    if not 1 <= total_stock <= STOCK_MAX:
        raise InvalidError.field("totalStock", f"must be between 1 and {STOCK_MAX}")


def _flash_price(product: Product, asked: Decimal | None) -> Decimal | None:
    if asked is None:
        return product.price
    return _checked_price(product.price, asked, "product", "price")


def _checked_price(original: Decimal | None, asked: Decimal, whose: str, name: str) -> Decimal:
    if original is None:
        raise InvalidError.field("flashPrice", f"the {whose} has no {name} to be below")
    if asked >= original:
        raise InvalidError.field("flashPrice", f"must be below the {whose}'s {name} of {original}")
    return asked


def _movement(sale: FlashSale, kind: MovementKind, quantity: int, actor_id: int | None, reason: str) -> StockMovement:
    return StockMovement(sale_id=sale.id, kind=kind, quantity=quantity, actor_id=actor_id, reason=reason)
