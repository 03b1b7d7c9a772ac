"""Holds and refunds: what becomes of a reservation, and of a purchase that is given back.

A hold ends in exactly one of checkout, cancel and expiry. Each runs in one short transaction under the sale's row
lock, so whichever comes first wins and the others find nothing left to do. PostgreSQL's clock, read under the lock,
says whether a hold has run out.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import and_, or_, select, true
from sqlalchemy.orm import Session

from models.announce import tell
from models.buyer_months import take_units
from models.database import database_now, transaction
from models.errors import ConflictError, NotFoundError
from models.movement import MovementKind, StockMovement
from models.product import Product
from models.purchase import Purchase, Status
from models.receipts import Claim
from models.record import PurchaseRecord
from models.sale import FlashSale
from models.sale_rules import end_if_sold_out, lock_sale, may_reopen, reopen, touch
from models.snapshot import SaleSnapshot
from models.totals import add_totals, sums_of, take_totals

# Holds that one transaction ends at most.
PAGE = 500
RELEASES = {
    Status.CANCELLED: (MovementKind.HOLD_CANCELLED, "the buyer cancelled"),
    Status.EXPIRED: (MovementKind.HOLD_EXPIRED, "the hold ran out"),
    Status.REFUNDED: (MovementKind.REFUND, "refunded"),
}


class HoldNotFoundError(NotFoundError):
    code = "RESERVATION_NOT_FOUND"
    message = "No active reservation"


class HoldExpiredError(ConflictError):
    code = "RESERVATION_EXPIRED"
    message = "The reservation has expired"


class HoldClosedError(ConflictError):
    code = "RESERVATION_CLOSED"
    message = "The reservation was ended already"


class TotalMismatchError(ConflictError):
    code = "TOTAL_MISMATCH"
    message = "The total does not match the price"


def checkout(
    sale_id: int, tickets: Sequence[int], user_id: int, total: Decimal | None = None, *, claim: Claim | None = None
) -> list[PurchaseRecord]:
    """Turn holds into purchases for good: all of the tickets, or none.

    `total`, in the sale's currency, must be what the server counts (recorded as given where the product has no
    price). A `claim` is kept with it: see models/receipts.py. Raises HoldNotFoundError, HoldExpiredError,
    HoldClosedError, TotalMismatchError.
    """

    def confirm(session: Session, sale: FlashSale, holds: Sequence[Purchase], now: datetime) -> None:
        _check_total(holds, total)
        for hold in holds:
            hold.status = Status.CONFIRMED
            hold.closed_at = now
        units = sum(hold.quantity for hold in holds)
        sale.reserved -= units
        sale.sold += units
        end_if_sold_out(sale)
        add_totals(session, sale_id, sums_of([user_id], [min(hold.ticket for hold in holds)], [units]))
        if claim is not None:
            claim.keep(session, sale_id, [hold.ticket for hold in holds])

    return _end_holds(sale_id, tickets, user_id, confirm)


def cancel(sale_id: int, tickets: Sequence[int], user_id: int) -> list[PurchaseRecord]:
    """Give holds back before they run out. Raises HoldNotFoundError, HoldExpiredError, HoldClosedError."""

    def give_back(session: Session, sale: FlashSale, holds: Sequence[Purchase], now: datetime) -> None:
        _release(session, sale, holds, Status.CANCELLED, now, actor_id=user_id)

    return _end_holds(sale_id, tickets, user_id, give_back)


def expire_due_holds() -> int:
    """End the holds whose time is over, and give their units back; returns how many."""
    ended = 0
    with transaction() as session:
        now = database_now(session)
        due = select(Purchase.sale_id).where(Purchase.status == Status.RESERVED, Purchase.expires_at <= now)
        sale_ids = session.scalars(due.distinct().limit(PAGE)).all()
    for sale_id in sale_ids:
        ended += _expire_holds_of(sale_id)
    return ended


def _expire_holds_of(sale_id: int) -> int:
    ended = 0
    while True:
        with transaction() as session:
            sale = lock_sale(session, sale_id)
            now = database_now(session)
            holds = session.scalars(
                select(Purchase)
                .where(Purchase.sale_id == sale_id, Purchase.status == Status.RESERVED, Purchase.expires_at <= now)
                .order_by(Purchase.ticket)
                .limit(PAGE)
            ).all()
            if not holds:
                return ended
            _release(session, sale, holds, Status.EXPIRED, now, actor_id=None)
            records, snapshot = _finish(session, sale, holds, now)
        tell(snapshot, records)
        ended += len(records)
        if len(records) < PAGE:
            return ended


def refund(sale_id: int, ticket: int, *, actor_id: int, reason: str, claim: Claim | None = None) -> PurchaseRecord:
    """Take a confirmed purchase back; its units can be sold again, unless its sale or product was archived. An
    operator's decision.

    A `claim` is kept with it: see models/receipts.py. Raises NotFoundError (PURCHASE_NOT_FOUND) and ConflictError
    (NOT_CONFIRMED).
    """
    with transaction() as session:
        sale = lock_sale(session, sale_id)
        now = database_now(session)
        row = session.get(Purchase, (sale_id, ticket))
        if row is None:
            raise NotFoundError("Purchase not found", code="PURCHASE_NOT_FOUND")
        if row.status != Status.CONFIRMED:
            raise ConflictError(
                f"Only a confirmed purchase can be refunded; this one is {row.status}", code="NOT_CONFIRMED"
            )
        _release(session, sale, [row], Status.REFUNDED, now, actor_id=actor_id, why=reason)
        if may_reopen(sale, now) and _has_its_product(session, sale) and not _has_another_active_sale(session, sale):
            reopen(sale)
        records, snapshot = _finish(session, sale, [row], now)
        take_totals(session, sale_id, row.user_id, row.quantity)
        if claim is not None:
            claim.keep(session, sale_id, [ticket])
    tell(snapshot, records)
    return records[0]


def _end_holds(
    sale_id: int,
    tickets: Sequence[int],
    user_id: int,
    end: Callable[[Session, FlashSale, Sequence[Purchase], datetime], None],
) -> list[PurchaseRecord]:
    with transaction() as session:
        sale = lock_sale(session, sale_id)
        now = database_now(session)
        query = select(Purchase).where(
            Purchase.sale_id == sale_id, Purchase.ticket.in_(tickets), Purchase.user_id == user_id
        )
        holds = session.scalars(query.order_by(Purchase.ticket)).all()
        _check_running(holds, tickets, now)
        end(session, sale, holds, now)
        records, snapshot = _finish(session, sale, holds, now)
    tell(snapshot, records)
    return records


def _check_running(holds: Sequence[Purchase], tickets: Sequence[int], now: datetime) -> None:
    if not holds or len(holds) < len(set(tickets)):
        raise HoldNotFoundError
    for hold in holds:
        if hold.status == Status.EXPIRED or (
            hold.status == Status.RESERVED and hold.expires_at and hold.expires_at <= now
        ):
            raise HoldExpiredError
        if hold.status != Status.RESERVED:
            raise HoldClosedError(f"The reservation is {hold.status} already", data={"status": str(hold.status)})


def _check_total(holds: Sequence[Purchase], total: Decimal | None) -> None:
    """Hold the client's total against the server's price; give an unpriced purchase the total it came with."""
    priced = [hold.total_amount for hold in holds if hold.total_amount is not None]
    if len(priced) == len(holds):
        expected = sum(priced, Decimal(0))
        if total is not None and total != expected:
            raise TotalMismatchError(
                f"The total is {expected}", data={"expectedTotal": expected, "currency": holds[0].currency}
            )
    elif total is not None:
        # The first of the holds carries the sum, the others none: a sum is not the client's to split.
        for position, hold in enumerate(holds):
            hold.total_amount = total if position == 0 else Decimal(0)


def _release(
    session: Session,
    sale: FlashSale,
    rows: Sequence[Purchase],
    status: Status,
    now: datetime,
    *,
    actor_id: int | None,
    why: str | None = None,
) -> None:
    """Give the units of these purchases back to the sale, and record why."""
    kind, reason = RELEASES[status]
    for row in rows:
        if status is Status.REFUNDED:
            sale.sold -= row.quantity
        else:
            sale.reserved -= row.quantity
        row.status = status
        row.closed_at = now
        session.add(
            StockMovement(
                sale_id=sale.id,
                kind=kind,
                quantity=row.quantity,
                ticket=row.ticket,
                actor_id=actor_id,
                reason=why or reason,
            )
        )
    take_units(session, sale, ((row.user_id, row.quantity) for row in rows))


def _finish(
    session: Session, sale: FlashSale, rows: Iterable[Purchase], now: datetime
) -> tuple[list[PurchaseRecord], SaleSnapshot]:
    touch(sale, now)
    for row in rows:
        row.revision = sale.revision
    session.flush()
    return [PurchaseRecord.of(row) for row in rows], SaleSnapshot.of(sale)


def _has_its_product(session: Session, sale: FlashSale) -> bool:
    """Whether the sale's product is still offered.

    Read without its lock, which comes before a sale's: an archiving that this does not see is one that comes after,
    and that leaves a live sale as it is.
    """
    found = session.scalar(select(Product.id).where(Product.id == sale.product_id, Product.archived_at.is_(None)))
    return found is not None


def _has_another_active_sale(session: Session, sale: FlashSale) -> bool:
    """Whether this sale's place was taken: by another of the product, or by a series' run at the same time."""
    beside = and_(
        or_(FlashSale.ends_at.is_(None), FlashSale.ends_at > sale.starts_at),
        FlashSale.starts_at < sale.ends_at if sale.ends_at else true(),
    )
    if sale.series_id is None:
        beside = or_(beside, FlashSale.series_id.is_(None))
    other = select(FlashSale.id).where(
        FlashSale.product_id == sale.product_id,
        FlashSale.id != sale.id,
        FlashSale.state.in_(("scheduled", "live")),
        ~FlashSale.paused,
        beside,
    )
    return session.scalar(other.limit(1)) is not None
