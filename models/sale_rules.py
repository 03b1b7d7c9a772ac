"""What every change of a sale's row has in common: the lock, the revision, and how a sale ends and reopens."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.archives import refuse_archived
from models.errors import NotFoundError
from models.sale import EndReason, FlashSale, SaleState


class SaleNotFoundError(NotFoundError):
    code = "SALE_NOT_FOUND"
    message = "Flash sale not found"


def lock_sale(session: Session, sale_id: int, *, in_sight: bool = False) -> FlashSale:
    """The sale's row under its lock: what must be held to change its stock. Waits at most `lock_timeout`.

    With `in_sight`, an archived sale is not found; what was bought and is held in it is still changed without.
    Raises SaleNotFoundError, and HistoryArchivedError: what a change would rest on is no longer here.
    """
    sale = session.scalar(select(FlashSale).where(FlashSale.id == sale_id).with_for_update())
    if sale is None or (in_sight and sale.archived_at is not None):
        raise SaleNotFoundError
    refuse_archived(session, sale)
    return sale


def touch(sale: FlashSale, now: datetime) -> None:
    """Count a change of the row; called exactly once in a transaction that changes it."""
    sale.revision += 1
    sale.updated_at = now


def end_if_sold_out(sale: FlashSale) -> None:
    """A sale ends when its last unit is sold for good; units on hold may still come back."""
    if sale.state == SaleState.LIVE and sale.sold == sale.total_stock:
        sale.state = SaleState.ENDED
        sale.end_reason = EndReason.SOLD_OUT


def may_reopen(sale: FlashSale, now: datetime) -> bool:
    """Whether a sale that ended by selling out, and was not archived, has units again, and time left to sell them."""
    return (
        sale.archived_at is None
        and sale.state == SaleState.ENDED
        and sale.end_reason == EndReason.SOLD_OUT
        and sale.sold < sale.total_stock
        and (sale.ends_at is None or sale.ends_at > now)
    )


def reopen(sale: FlashSale) -> None:
    sale.state = SaleState.LIVE
    sale.end_reason = None
