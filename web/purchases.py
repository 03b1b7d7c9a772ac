"""Buying: a request goes in through the gate, and its outcome is waited for, asked for, or listed."""

import time
from datetime import timedelta
from typing import Any

import structlog
from flask import request
from flask.wrappers import Response

from models.clock import EPOCH
from models.gate import Admission, KeyReusedError
from models.looks import Place
from models.purchase import Kind, Reason, Status, parse_purchase_id, purchase_id
from models.purchases import PurchaseCursor, find_purchase, purchases_of
from models.record import PurchaseRecord
from models.trips import HELD, Trips, at_once
from web.access import checked_at_gate, checked_by_look, login_required
from web.auth import current_user
from web.cursors import decode_cursor, encode_cursor
from web.description import IDEMPOTENCY_KEY, PREFER
from web.envelope import ok, refusal_body, respond, success_body
from web.errors import AWAY, STATUS_OF_CODE
from web.guard import ASKED, pass_gate
from web.limits import client_address
from web.looks import look_at
from web.openapi import api_blueprint, reads, refusal
from web.preferences import asked_wait_seconds, idempotency_key, preferred_wait_seconds
from web.purchase_json import purchase_json
from web.schemas import Envelope
from web.schemas_purchases import (
    CursorQuery,
    PurchaseBody,
    PurchasePage,
    PurchasePath,
    PurchaseView,
    SalePath,
    TicketPath,
    WaitQuery,
)
from web.traces import note_outcome
from web.waiting import waiters
from web.wake import waker

log = structlog.get_logger()

blueprint = api_blueprint(
    "purchases",
    __name__,
    url_prefix="/api",
    tag="purchases",
    about="Requests for units, and their outcomes",
)

ARCHIVED = refusal("`HISTORY_ARCHIVED`, with what the sale came to in `data`")
REFUSED = refusal("`NOT_STARTED` (with `data.startsAt`), `ENDED`, `PAUSED`, `SOLD_OUT`, `INSUFFICIENT_STOCK`")
SUSPECT = refusal("`VELOCITY_REFUSED`: too much is behind this request")
TOO_MANY = refusal("`LIMIT_EXCEEDED`, `IDEMPOTENCY_KEY_REUSED`")

CURSOR = "purchases"
MESSAGES = {
    Status.QUEUED: "Your request is in line",
    Status.CONFIRMED: "Confirmed",
    Status.RESERVED: "Reserved",
    Status.CANCELLED: "Cancelled",
    Status.EXPIRED: "The hold has expired",
    Status.REFUNDED: "Refunded",
}
REJECTIONS = {
    Reason.SOLD_OUT: "Sold out",
    Reason.INSUFFICIENT_STOCK: "Not enough units were left",
    Reason.LIMIT_EXCEEDED: "More than one buyer may have",
    Reason.NOT_STARTED: "The sale had not started",
    Reason.ENDED: "The sale had ended",
    Reason.PAUSED: "The sale was paused",
    Reason.DUPLICATE: "Its Idempotency-Key was used for an earlier request",
    Reason.MALFORMED: "The request could not be read",
}


@blueprint.post(
    "/flash-sales/<id:sale_id>/purchases",
    summary="Buy units of a sale",
    responses={201: Envelope[PurchaseView], 202: Envelope[PurchaseView], 403: SUSPECT, 409: REFUSED, 422: TOO_MANY},
)
@reads(IDEMPOTENCY_KEY, PREFER)
@checked_at_gate
def buy(path: SalePath, body: PurchaseBody) -> Response:
    """202 with a place in line, or with `Prefer: wait=N` the outcome itself: 201, or 409/422 with the reason.

    `Idempotency-Key` makes it safe to ask again: the same key and body have the same answer, or what has come of it
    since.
    """
    return enter_line(path.sale_id, body.quantity, Kind.PURCHASE, body.group_key)


@blueprint.get(
    "/flash-sales/<id:sale_id>/purchases/<id:ticket>",
    summary="A purchase by its sale and ticket",
    responses={200: Envelope[PurchaseView], 404: refusal("`PURCHASE_NOT_FOUND`"), 410: ARCHIVED},
)
@reads(PREFER)
@checked_by_look
def by_ticket(path: TicketPath, query: WaitQuery) -> Response:
    return _show((path.sale_id, path.ticket))


@blueprint.get(
    "/purchases/<purchase_id>",
    summary="A purchase, waiting up to ?wait seconds for its outcome",
    responses={200: Envelope[PurchaseView], 404: refusal("`PURCHASE_NOT_FOUND`"), 410: ARCHIVED},
)
@reads(PREFER)
@checked_by_look
def by_id(path: PurchasePath, query: WaitQuery) -> Response:
    return _show(parse_purchase_id(path.purchase_id))


@blueprint.get("/users/me/purchases", summary="My purchases, newest first", responses={200: PurchasePage})
@login_required
def mine(query: CursorQuery) -> Response:
    records = purchases_of(current_user().user_id, query.limit + 1, read_cursor(query.cursor))
    page = records[: query.limit]
    more = encode_cursor(CURSOR, *place_of(page[-1])) if len(records) > query.limit else None
    return ok(
        [purchase_json(record) for record in page],
        "Your purchases",
        meta={"limit": query.limit, "nextCursor": more},
    )


def enter_line(sale_id: int, quantity: int, kind: Kind, group_key: str | None = None) -> Response:
    """Ask the gate for the current user, wake the sale, and answer as they prefer."""
    wait_seconds = preferred_wait_seconds()
    return answer(ask_for(sale_id, quantity, kind, wait_seconds, group_key), wait_seconds)


def ask_for(
    sale_id: int, quantity: int, kind: Kind, wait_seconds: float, group_key: str | None = None
) -> PurchaseRecord:
    """Ask the gate for the current user and wake the sale: the outcome, or the place in line if it did not come in
    time.

    Raises what the guard and the gate refuse.
    """
    began = time.monotonic()
    admission = pass_gate(sale_id, kind, quantity, idempotency_key=idempotency_key(), group_key=group_key)
    user_id = current_user().user_id
    if admission.wake:
        waker().wake(sale_id, dedicated=admission.dedicated)
    record = None
    if wait_seconds or admission.replayed:
        record = at_once(wait_for_outcome(HELD, admission, user_id, wait_seconds, began))
    return record or queued(admission, user_id, kind, quantity)


def answer(record: PurchaseRecord, waited_seconds: float = 0) -> Response:
    """A request's outcome, or 202 with its place in line."""
    return respond(*told(record, waited_seconds))


def told(record: PurchaseRecord, waited_seconds: float = 0) -> tuple[dict[str, Any], int, dict[str, str]]:
    """What `answer` answers: body, status and headers.

    An outcome is the answer to the request itself: 201, or the refusal that it came to. Raises KeyReusedError.
    """
    if record.reason == Reason.DUPLICATE:
        # The same request would be told the first's outcome (models/purchases.py): the key came with another body.
        raise KeyReusedError
    data = purchase_json(record)
    headers = {"Location": f"/api/purchases/{purchase_id(record.sale_id, record.ticket)}"}
    if not record.is_settled:
        return success_body(data, MESSAGES[Status.QUEUED]), 202, headers | {"Retry-After": "1"}
    if waited_seconds:
        headers["Preference-Applied"] = f"wait={waited_seconds:g}"
    if record.status == Status.REJECTED:
        reason = Reason(record.reason or Reason.MALFORMED)
        status = STATUS_OF_CODE.get(reason, 409)
        return refusal_body(status, reason, REJECTIONS[reason], data=data), status, headers
    return success_body(data, message_of(record)), 201, headers


async def wait_for_outcome(
    trips: Trips, admission: Admission, user_id: int, seconds: float, since: float
) -> PurchaseRecord | None:
    """The outcome of an admitted request, or None if it did not come in time or waiting was declined.

    A retry whose request was settled long ago has its outcome without a wait, also where none is asked for (0 seconds):
    it is in line no more. `since` is when the gate was asked, by the monotonic clock.
    """

    def look() -> PurchaseRecord | None:
        """None where nobody can say: it is in line all the same, and its ticket must not be lost with the answer."""
        try:
            return find_purchase(admission.sale_id, admission.ticket, viewer_id=user_id)
        except AWAY as error:
            log.warning("wait.unlooked", sale=admission.sale_id, error=type(error).__name__)
            return None

    if admission.replayed and (seconds or not admission.position):
        # Thousands may ask again at once, and PostgreSQL may be slow: who finds no room to look is told their place.
        _, record = await waiters().look(trips, look)
        if record is not None and record.is_settled:
            return record
    place = admission.sale_id, admission.ticket
    return note_outcome(await waiters().wait(trips, place, user_id, seconds, look, since=since))


def message_of(record: PurchaseRecord) -> str:
    """What a purchase's status means, for people."""
    if record.status == Status.REJECTED:
        return REJECTIONS[Reason(record.reason or Reason.MALFORMED)]
    return MESSAGES[Status(record.status)]


def queued(admission: Admission, user_id: int, kind: Kind, quantity: int) -> PurchaseRecord:
    """A request that is in line."""
    return PurchaseRecord(
        sale_id=admission.sale_id,
        ticket=admission.ticket,
        user_id=user_id,
        kind=kind,
        quantity=quantity,
        status=Status.QUEUED,
        position=admission.position,
        estimate_seconds=admission.estimate_seconds,
    )


def _show(place: Place | None) -> Response:
    """The purchase at this place, after the wait that is asked for; None is a place that no purchase can have."""
    asked = request.environ.get(ASKED)
    if asked is not None:
        # At the doorstep, which found that it is for us to say.
        raise asked
    record = at_once(look_at(HELD, current_user(), place, asked_wait_seconds(), client_address()))
    return respond(*shown(record), None)


def shown(record: PurchaseRecord) -> tuple[dict[str, Any], int]:
    """What whoever looks at a purchase is answered: body and status."""
    return success_body(purchase_json(record), message_of(record)), 200


def place_of(record: PurchaseRecord) -> tuple[int, int, int]:
    """A purchase's place in its buyer's list, for a cursor."""
    return record.admitted_ms or 0, record.sale_id, record.ticket


def read_cursor(cursor: str | None) -> PurchaseCursor | None:
    """Where a buyer's list goes on. Raises InvalidError."""
    if cursor is None:
        return None
    admitted_ms, sale_id, ticket = decode_cursor(CURSOR, cursor, (int, int, int))
    try:
        return PurchaseCursor(EPOCH + timedelta(milliseconds=admitted_ms), sale_id, ticket)
    except OverflowError:
        return PurchaseCursor(EPOCH, 0, 0)
