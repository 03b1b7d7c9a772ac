"""Reservations by product: an older client names a product and a buyer where we know a sale and tickets.

Nothing here changes stock. It finds the sale that is meant and the holds that run, and leaves the rest to the gate and
to models/holds.py, which look again under the sale's row lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true
from sqlalchemy.orm import Session

from models import holds, rediskeys
from models.catalogue import find_product
from models.database import database_now, transaction
from models.errors import ConflictError, DomainError
from models.gate import KeyReusedError
from models.holds import HoldClosedError, HoldExpiredError, HoldNotFoundError
from models.purchase import Kind, Purchase, Status
from models.receipts import Claim, done_once
from models.record import PurchaseRecord
from models.redisclient import read_many
from models.sale import FlashSale, SaleState
from models.sale_rules import SaleNotFoundError
from models.settings import settings

# Holds of one buyer on one product that are looked at: far more than anybody has.
HOLDS_MAX = 1_000
# Sales of one product whose gates are asked for a key: a run of every minute has so many in less than two hours, and a
# first try that is older than that has its row, or waits behind a worker that is long overdue.
GATES_MAX = 100


class QuantityMismatchError(ConflictError):
    """Whoever holds three and asks to pay for two is asked what they mean, not charged for a guess."""

    code = "QUANTITY_MISMATCH"
    message = "The quantity is not what is held"


@dataclass(frozen=True, slots=True)
class ProductStatus:
    """A product's units at one moment, of the sale that it is sold in; all zero where it is in none."""

    product_id: int
    name: str
    sale: FlashSale | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that runs, and the product that it is on."""

    record: PurchaseRecord
    product_id: int


def sale_of_product(product_id: int) -> FlashSale:
    """The sale in which a product is sold: the one that is on or planned, else the last one.

    Raises ProductNotFoundError, and SaleNotFoundError for a product that was never in a sale.
    """
    find_product(product_id)
    with transaction() as session:
        sale = session.scalar(_sale_query(product_id))
    if sale is None:
        raise SaleNotFoundError("This product is in no flash sale")
    return sale


def product_status(product_id: int) -> ProductStatus:
    """Raises ProductNotFoundError."""
    product = find_product(product_id)
    with transaction() as session:
        return ProductStatus(product_id, product.name, session.scalar(_sale_query(product_id)), database_now(session))


def _sale_query(product_id: int) -> Select[FlashSale]:
    is_open = FlashSale.state.in_((SaleState.SCHEDULED, SaleState.LIVE))
    is_on = and_(FlashSale.starts_at <= func.now(), func.coalesce(FlashSale.ends_at > func.now(), true()))
    return (
        select(FlashSale)
        .where(FlashSale.product_id == product_id, FlashSale.archived_at.is_(None))
        # At most one is on and not paused (the database holds that); it stands before every other, the next run of its
        # series included, which is open too.
        .order_by(
            and_(is_open, ~FlashSale.paused).desc(),
            is_open.desc(),
            is_on.desc(),
            FlashSale.starts_at.desc(),
            FlashSale.id.desc(),
        )
        .limit(1)
    )


def purchase_of_key(product_id: int, user_id: int, key: str, kind: Kind, quantity: int) -> PurchaseRecord | None:
    """What an Idempotency-Key came to, in whichever sale of the product it was sent to; None if it is new.

    Whoever names a product may meet another sale on the second try: their first try is found all the same. Raises
    KeyReusedError where the key stands for another request.
    """
    remembered = timedelta(hours=settings().idempotency_hours)
    query = (
        select(Purchase)
        .join(FlashSale, FlashSale.id == Purchase.sale_id)
        .where(
            FlashSale.product_id == product_id,
            Purchase.user_id == user_id,
            Purchase.idempotency_key == key,
            Purchase.admitted_at > func.now() - remembered,
        )
        .order_by(Purchase.admitted_at.desc())
        .limit(1)
    )
    with transaction() as session:
        row = session.scalar(query)
    if row is None:
        return None
    if (row.kind, row.quantity) != (kind, quantity):
        raise KeyReusedError
    return PurchaseRecord.of(row)


def sale_of_key(product_id: int, user_id: int, key: str) -> int | None:
    """The sale of the product whose gate has admitted a request under this Idempotency-Key, whether that still waits
    or not; None if there is none.

    It answers for what is in line and has no row yet. The body is the gate's to check. Raises redis errors: where Redis
    is away, nobody can say whether a request is new.
    """
    with transaction() as session:
        sale_ids = session.scalars(_lately_on(product_id)).all()
    if not sale_ids:
        return None
    known = read_many([rediskeys.idempotency(sale_id, user_id, key) for sale_id in sale_ids])
    return next((sale_id for sale_id, request in zip(sale_ids, known, strict=True) if request is not None), None)


def _lately_on(product_id: int) -> Select[int]:
    """The sales of a product that have let somebody in for as long as a key is remembered, the latest first; those out
    of sight too, whose line may still wait."""
    remembered = timedelta(hours=settings().idempotency_hours)
    is_open = FlashSale.state.in_((SaleState.SCHEDULED, SaleState.LIVE))
    return (
        select(FlashSale.id)
        .where(
            FlashSale.product_id == product_id,
            FlashSale.starts_at <= func.now(),
            # What is over was written when it ended, and nobody was let in after that.
            or_(is_open, FlashSale.updated_at > func.now() - remembered),
        )
        .order_by(FlashSale.starts_at.desc(), FlashSale.id.desc())
        .limit(GATES_MAX)
    )


def holds_of(user_id: int, page: int, limit: int) -> tuple[list[Hold], int, datetime]:
    """A page of a buyer's running holds, the first to run out first; how many there are; and the database's time."""
    with transaction() as session:
        now = database_now(session)
        running = _running(now, Purchase.user_id == user_id)
        total = session.scalar(select(func.count()).select_from(Purchase).where(running)) or 0
        query = (
            select(Purchase, FlashSale.product_id)
            .join(FlashSale, FlashSale.id == Purchase.sale_id)
            .where(running)
            .order_by(Purchase.expires_at, Purchase.sale_id, Purchase.ticket)
            .limit(limit)
            .offset((page - 1) * limit)
        )
        found = [Hold(PurchaseRecord.of(row), product_id) for row, product_id in session.execute(query)]
    return found, total, now


def checkout_product(
    user_id: int, product_id: int, quantity: int, total: Decimal, *, key: str | None = None
) -> list[PurchaseRecord]:
    """Turn a buyer's running holds of a product into purchases; `total` is in the sale's currency.

    Where they have holds in two sales of it, the sale whose hold runs out first. Raises ProductNotFoundError,
    HoldNotFoundError, HoldExpiredError, HoldClosedError, QuantityMismatchError, TotalMismatchError, KeyReusedError.
    """
    claim = _claim(user_id, key, f"checkout product {product_id} x {quantity} = {total:.2f}")

    def check_out() -> list[PurchaseRecord]:
        running = _holds_on(user_id, product_id)
        if not running:
            raise _why_no_hold(user_id, product_id)
        mine = [hold for hold in running if hold.sale_id == running[0].sale_id]
        held = sum(hold.quantity for hold in mine)
        if held != quantity:
            raise QuantityMismatchError(f"{held} are held: check out {held}", data={"heldQuantity": held})
        return holds.checkout(mine[0].sale_id, [hold.ticket for hold in mine], user_id, total, claim=claim)

    return done_once(claim, check_out)


def checkout_purchase(
    sale_id: int, ticket: int, user_id: int, total: Decimal | None, *, key: str | None = None
) -> PurchaseRecord:
    """Turn one hold into a purchase. Raises HoldNotFoundError, HoldExpiredError, HoldClosedError, TotalMismatchError,
    KeyReusedError."""
    asked = "any" if total is None else f"{total:.2f}"
    claim = _claim(user_id, key, f"checkout purchase {sale_id}-{ticket} = {asked}")
    return done_once(claim, lambda: holds.checkout(sale_id, [ticket], user_id, total, claim=claim))[0]


def refund_purchase(sale_id: int, ticket: int, *, actor_id: int, reason: str, key: str | None = None) -> PurchaseRecord:
    """Take a confirmed purchase back. Raises as `holds.refund`, and KeyReusedError."""
    claim = _claim(actor_id, key, f"refund purchase {sale_id}-{ticket}: {reason}")
    return done_once(claim, lambda: [holds.refund(sale_id, ticket, actor_id=actor_id, reason=reason, claim=claim)])[0]


def cancel_product(user_id: int, product_id: int) -> list[PurchaseRecord]:
    """Give a buyer's running holds of a product back, in whichever of its sales they are.

    Raises ProductNotFoundError, HoldNotFoundError, HoldExpiredError, HoldClosedError.
    """
    running = _holds_on(user_id, product_id)
    if not running:
        raise _why_no_hold(user_id, product_id)
    cancelled: list[PurchaseRecord] = []
    for sale_id in dict.fromkeys(hold.sale_id for hold in running):
        tickets = [hold.ticket for hold in running if hold.sale_id == sale_id]
        cancelled += holds.cancel(sale_id, tickets, user_id)
    return cancelled


def _claim(user_id: int, key: str | None, request: str) -> Claim | None:
    return Claim(user_id, key, request) if key else None


def _running(now: datetime, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(Purchase.status == Status.RESERVED, Purchase.expires_at > now, *conditions)


def _of_product(user_id: int, product_id: int) -> ColumnElement[bool]:
    sales = select(FlashSale.id).where(FlashSale.product_id == product_id)
    return and_(Purchase.user_id == user_id, Purchase.sale_id.in_(sales))


def _holds_on(user_id: int, product_id: int) -> Sequence[Purchase]:
    """The first to run out first."""
    with transaction() as session:
        query = select(Purchase).where(_running(database_now(session), _of_product(user_id, product_id)))
        return session.scalars(query.order_by(Purchase.expires_at, Purchase.ticket).limit(HOLDS_MAX)).all()


def _why_no_hold(user_id: int, product_id: int) -> DomainError:
    """What became of the buyer's last hold of a product, as the refusal that says so."""
    with transaction() as session:
        last = _last_hold(session, user_id, product_id)
    if last is None:
        find_product(product_id)
        return HoldNotFoundError()
    if last.status in (Status.RESERVED, Status.EXPIRED):
        # Reserved, yet not running: its time is over, and beat has not come by.
        return HoldExpiredError()
    return HoldClosedError(f"The reservation is {last.status} already", data={"status": str(last.status)})


def _last_hold(session: Session, user_id: int, product_id: int) -> Purchase | None:
    query = select(Purchase).where(
        _of_product(user_id, product_id), Purchase.kind == Kind.RESERVATION, Purchase.status != Status.REJECTED
    )
    return session.scalar(query.order_by(Purchase.admitted_at.desc(), Purchase.ticket.desc()).limit(1))
