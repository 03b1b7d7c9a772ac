"""Purchases and movements as operators page through them, newest first."""

from dataclasses import dataclass

from sqlalchemy import select

from models.archives import refuse_archived_sale
from models.database import transaction
from models.movement import StockMovement
from models.purchase import Purchase, Status
from models.record import PurchaseRecord


@dataclass(frozen=True, slots=True)
class PurchaseFilter:
    """Which purchases of a sale to list; None takes all."""

    user_id: int | None = None
    status: Status | None = None


def purchases_of_sale(
    sale_id: int, which: PurchaseFilter, limit: int, before_ticket: int | None = None
) -> list[PurchaseRecord]:
    """A sale's settled purchases by ticket, the last first, below `before_ticket` where it is given.

    Raises HistoryArchivedError.
    """
    refuse_archived_sale(sale_id)
    query = select(Purchase).where(Purchase.sale_id == sale_id)
    if which.user_id is not None:
        query = query.where(Purchase.user_id == which.user_id)
    if which.status is not None:
        query = query.where(Purchase.status == which.status)
    if before_ticket is not None:
        query = query.where(Purchase.ticket < before_ticket)
    with transaction() as session:
        return [PurchaseRecord.of(row) for row in session.scalars(query.order_by(Purchase.ticket.desc()).limit(limit))]


def movements(sale_id: int | None, limit: int, before_id: int | None = None) -> list[StockMovement]:
    """The newest movements of a sale's stock, or of all, older than `before_id` where it is given.

    Raises HistoryArchivedError where one sale is asked for; among those of all, what was archived is not there.
    """
    query = select(StockMovement).order_by(StockMovement.id.desc()).limit(limit)
    if sale_id is not None:
        refuse_archived_sale(sale_id)
        query = query.where(StockMovement.sale_id == sale_id)
    if before_id is not None:
        query = query.where(StockMovement.id < before_id)
    with transaction() as session:
        return list(session.scalars(query))
