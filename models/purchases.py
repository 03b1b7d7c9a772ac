"""Finding purchases: what a buyer asks about is in its row, or still in the mailbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import bindparam, select, tuple_

from models import mailbox, rediskeys
from models.archives import refuse_archived_sale
from models.database import engine, transaction
from models.decide import Request
from models.errors import NotFoundError
from models.gate import estimate_seconds
from models.purchase import Purchase
from models.record import PurchaseRecord
from models.redisclient import read_count, redis_client

ROW = select(Purchase.__table__).where(Purchase.sale_id == bindparam("sale"), Purchase.ticket == bindparam("at"))


class PurchaseNotFoundError(NotFoundError):
    code = "PURCHASE_NOT_FOUND"
    message = "Purchase not found"


def find_purchase(sale_id: int, ticket: int, *, viewer_id: int, is_admin: bool = False) -> PurchaseRecord:
    """The purchase as it stands, for its buyer or an admin.

    PostgreSQL is asked before the mailbox and once more after it, because a ticket can be settled in between. Raises
    PurchaseNotFoundError, also where it is somebody else's, and HistoryArchivedError.
    """

    def is_theirs(user_id: int) -> bool:
        return is_admin or user_id == viewer_id

    row = _row(sale_id, ticket)
    if row is None or not is_theirs(row.user_id):
        # Where the row is somebody else's, the ticket was given out twice, and this request will line up anew.
        waiting = _waiting(sale_id, ticket)
        if waiting is not None and is_theirs(waiting.user_id):
            return waiting
        row = row or _row(sale_id, ticket)
    if row is not None and is_theirs(row.user_id):
        return _resolve_duplicate(row)
    return _find_moved(sale_id, ticket, viewer_id)


def as_it_stands(
    sale_id: int, ticket: int, waiting: PurchaseRecord | None, *, viewer_id: int, is_admin: bool = False
) -> PurchaseRecord:
    """The purchase as it stands, for its buyer or an admin; `waiting` is what lay in the mailbox under this ticket.

    The mailbox was asked before PostgreSQL is: what is in neither was in neither, and what was settled but still lies
    there is told as it was settled. Raises as `find_purchase` does.
    """
    row = _row(sale_id, ticket)
    if row is not None and (is_admin or row.user_id == viewer_id):
        return _resolve_duplicate(row)
    if waiting is not None and (is_admin or waiting.user_id == viewer_id):
        return waiting
    return _find_moved(sale_id, ticket, viewer_id)


def _find_moved(sale_id: int, ticket: int, user_id: int) -> PurchaseRecord:
    """A request that had to line up anew, by the ticket it was first given."""
    with transaction() as session:
        moved = session.scalar(
            select(Purchase).where(
                Purchase.sale_id == sale_id, Purchase.original_ticket == ticket, Purchase.user_id == user_id
            )
        )
        if moved is not None:
            return _resolve_duplicate(PurchaseRecord.of(moved))
    now_at = mailbox.moved_to(sale_id, ticket, user_id)
    if now_at is not None:
        found = _row(sale_id, now_at) or _waiting(sale_id, now_at)
        if found is not None and found.user_id == user_id:
            return _resolve_duplicate(found)
    refuse_archived_sale(sale_id)
    raise PurchaseNotFoundError


def _row(sale_id: int, ticket: int) -> PurchaseRecord | None:
    """Read without a session, which costs more than all the rest of it."""
    with engine().connect() as connection:
        row = connection.execute(ROW, {"sale": sale_id, "at": ticket}).one_or_none()
    return PurchaseRecord.of(cast(Purchase, row)) if row else None


def _resolve_duplicate(record: PurchaseRecord) -> PurchaseRecord:
    """The same request under a later ticket has the answer of the first.

    Another request under the first's Idempotency-Key is told as it stands, rejected: the first's units are not what it
    asked for. Such a one gets a ticket where Redis forgot the key, and the line knows a request by its key alone.
    """
    if record.duplicate_of is None:
        return record
    first = _row(record.sale_id, record.duplicate_of)
    if first is None or (first.kind, first.quantity) != (record.kind, record.quantity):
        return record
    return first


def _waiting(sale_id: int, ticket: int) -> PurchaseRecord | None:
    request = mailbox.find(sale_id, ticket)
    if request is None:
        return None
    view = redis_client().hmget(rediskeys.view(sale_id), ["settled_through", "pace"])
    settled_through, pace = cast(list[str | None], view)
    return in_line(sale_id, request, settled_through, pace)


def in_line(sale_id: int, request: Request, settled_through: str | None, pace: str | None) -> PurchaseRecord:
    """A request that waits, with its position, by what the sale's view has; the view may be another's work."""
    position = max(0, request.ticket - (read_count(settled_through) or 0) - 1)
    return PurchaseRecord.queued(sale_id, request, position, estimate_seconds(position, pace))


@dataclass(frozen=True, slots=True)
class PurchaseCursor:
    """Where a page of a buyer's purchases, newest first, goes on."""

    admitted_at: datetime
    sale_id: int
    ticket: int


def purchases_of(
    user_id: int, limit: int, after: PurchaseCursor | None = None, *, sale_id: int | None = None
) -> list[PurchaseRecord]:
    """A buyer's settled purchases, newest first, at most `limit` of them after the cursor; without archived ones."""
    place = (Purchase.admitted_at, Purchase.sale_id, Purchase.ticket)
    query = select(Purchase).where(Purchase.user_id == user_id).order_by(*(column.desc() for column in place))
    if sale_id is not None:
        query = query.where(Purchase.sale_id == sale_id)
    if after is not None:
        query = query.where(tuple_(*place) < (after.admitted_at, after.sale_id, after.ticket))
    with transaction() as session:
        return [PurchaseRecord.of(row) for row in session.scalars(query.limit(limit))]


def changed_since(sale_id: int, user_ids: Sequence[int], revision: int, limit: int) -> list[PurchaseRecord]:
    """These buyers' purchases of a sale that changed after a revision, oldest change first."""
    query = (
        select(Purchase)
        .where(Purchase.sale_id == sale_id, Purchase.user_id.in_(user_ids), Purchase.revision > revision)
        .order_by(Purchase.revision, Purchase.ticket)
        .limit(limit)
    )
    with transaction() as session:
        return [PurchaseRecord.of(row) for row in session.scalars(query)]
