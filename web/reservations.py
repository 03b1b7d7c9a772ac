"""Reservations: units held for a while, then bought, given back, or lost to time.

Two ways in. By our own ids: a sale, a purchase. And by product and buyer, as an older dialect has it, whose client
knows of no line: it is answered when the outcome is there (docs/decisions/0012-dialects.md).
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from flask.wrappers import Response

from models import holds, reservations
from models.accounts import find_user
from models.clock import now, to_iso, to_ms
from models.errors import ConflictError
from models.purchase import Kind, Status, parse_purchase_id, purchase_id
from models.purchases import PurchaseNotFoundError, find_purchase
from models.record import PurchaseRecord
from models.reservations import ProductStatus
from web.access import admin_required, checked_at_gate, login_required, public
from web.auth import current_user
from web.body import optional_body
from web.description import IDEMPOTENCY_KEY, PREFER
from web.envelope import ok
from web.openapi import api_blueprint, reads, refusal
from web.preferences import idempotency_key
from web.purchase_json import purchase_json
from web.purchases import REFUSED, SUSPECT, TOO_MANY, answer, enter_line, message_of
from web.sale_json import time_status
from web.schemas import Envelope, PageQuery
from web.schemas_catalogue import ProductPath
from web.schemas_purchases import PurchaseBody, PurchasePath, PurchaseView, SalePath
from web.schemas_reservations import (
    BuyerPath,
    CancelledView,
    CheckoutBody,
    CheckoutProductBody,
    CheckoutView,
    HeldProductPath,
    HoldsQuery,
    ProductStatusView,
    RefundBody,
    ReservationPage,
    ReservationView,
    ReserveBody,
)
from web.synchronous import NotYoursError, acting_user, ask_for_product

blueprint = api_blueprint(
    "reservations", __name__, url_prefix="/api", tag="reservations", about="Units held for a while, and what then"
)

NOT_YOURS = refusal("`NOT_YOUR_ACCOUNT`")
NO_HOLD = refusal("`RESERVATION_NOT_FOUND`, `PRODUCT_NOT_FOUND`")
NO_PURCHASE = refusal("`PURCHASE_NOT_FOUND`")
NOT_IN_A_SALE = refusal("`PRODUCT_NOT_FOUND`, `SALE_NOT_FOUND`: the product is in no sale")
CLOSED = refusal("`RESERVATION_CLOSED`, `NOT_SETTLED`")
NOT_AS_HELD = refusal("`RESERVATION_CLOSED`, `NOT_SETTLED`, `QUANTITY_MISMATCH`, `TOTAL_MISMATCH` (with `data`)")
TOO_LATE = refusal("`RESERVATION_EXPIRED`")
KEY_REUSED = refusal("`IDEMPOTENCY_KEY_REUSED`")


@blueprint.post(
    "/flash-sales/<id:sale_id>/reservations",
    summary="Hold units of a sale",
    responses={201: Envelope[PurchaseView], 202: Envelope[PurchaseView], 403: SUSPECT, 409: REFUSED, 422: TOO_MANY},
)
@reads(IDEMPOTENCY_KEY, PREFER)
@checked_at_gate
def reserve_in_sale(path: SalePath, body: PurchaseBody) -> Response:
    """As a purchase, but the units are held for the sale's `holdSeconds` only, until they are checked out.

    Who holds units already and reserves more has all of them until the first hold runs out.
    """
    return enter_line(path.sale_id, body.quantity, Kind.RESERVATION, body.group_key)


@blueprint.post(
    "/purchases/<purchase_id>/checkout",
    summary="Buy what a hold holds",
    responses={
        200: Envelope[PurchaseView],
        404: NO_PURCHASE,
        409: NOT_AS_HELD,
        410: TOO_LATE,
        422: KEY_REUSED,
    },
    request_body={"required": False, "content": {"application/json": {"schema": CheckoutBody.model_json_schema()}}},
)
@reads(IDEMPOTENCY_KEY)
@login_required
def check_out(path: PurchasePath) -> Response:
    """With an `Idempotency-Key`, the same request sent again has the same answer."""
    body = optional_body(CheckoutBody)
    hold = _own_hold(path.purchase_id)
    record = reservations.checkout_purchase(
        hold.sale_id, hold.ticket, hold.user_id, body.total_amount, key=idempotency_key()
    )
    return ok(purchase_json(record), message_of(record))


@blueprint.delete(
    "/purchases/<purchase_id>",
    summary="Give a hold back",
    responses={200: Envelope[PurchaseView], 404: NO_PURCHASE, 409: CLOSED, 410: TOO_LATE},
)
@login_required
def cancel(path: PurchasePath) -> Response:
    """Its units can be bought again at once. A purchase that is confirmed is not a hold: see refund."""
    hold = _own_hold(path.purchase_id)
    record = holds.cancel(hold.sale_id, [hold.ticket], hold.user_id)[0]
    return ok(purchase_json(record), message_of(record))


@blueprint.post(
    "/purchases/<purchase_id>/refund",
    summary="Take a confirmed purchase back",
    responses={
        200: Envelope[PurchaseView],
        404: NO_PURCHASE,
        409: refusal("`NOT_CONFIRMED`"),
        410: refusal("`HISTORY_ARCHIVED`"),
        422: KEY_REUSED,
    },
)
@reads(IDEMPOTENCY_KEY)
@admin_required
def refund(path: PurchasePath, body: RefundBody) -> Response:
    """Its units can be bought again at once. With an `Idempotency-Key`, sent again it has the same answer."""
    sale_id, ticket = _ids(path.purchase_id)
    actor_id = current_user().user_id
    record = reservations.refund_purchase(sale_id, ticket, actor_id=actor_id, reason=body.reason, key=idempotency_key())
    return ok(purchase_json(record), message_of(record))


@blueprint.post(
    "/reserve",
    summary="Hold units of a product",
    responses={
        201: Envelope[ReservationView],
        202: Envelope[PurchaseView],
        403: NOT_YOURS,
        404: NOT_IN_A_SALE,
        409: REFUSED,
        422: TOO_MANY,
    },
)
@reads(IDEMPOTENCY_KEY, PREFER)
@login_required
def reserve(body: ReserveBody) -> Response:
    """Answered when the hold is there; 202 with a place in line if that takes too long."""
    acting_user(body.user_id)
    record = ask_for_product(body.product_id, body.quantity, Kind.RESERVATION)
    if not record.is_settled or record.status == Status.REJECTED:
        return answer(record)
    location = {"Location": f"/api/purchases/{purchase_id(record.sale_id, record.ticket)}"}
    data = reservation_json(record, body.product_id, now())
    return ok(data, message_of(record), status=201, headers=location)


@blueprint.post(
    "/checkout",
    summary="Buy what is held of a product",
    responses={
        200: Envelope[CheckoutView],
        403: NOT_YOURS,
        404: NO_HOLD,
        409: NOT_AS_HELD,
        410: TOO_LATE,
        422: KEY_REUSED,
    },
)
@reads(IDEMPOTENCY_KEY)
@login_required
def check_out_product(body: CheckoutProductBody) -> Response:
    """All of it, at the server's price. With an `Idempotency-Key`, the same request sent again has the same answer."""
    user_id = acting_user(body.user_id)
    records = reservations.checkout_product(
        user_id, body.product_id, body.quantity, body.total_amount, key=idempotency_key()
    )
    return ok(_checkout_json(records, body.product_id), "Checkout completed successfully")


@blueprint.delete(
    "/reserve/<id:user_id>/<id:product_id>",
    summary="Give back what is held of a product",
    responses={200: Envelope[CancelledView], 403: NOT_YOURS, 404: NO_HOLD, 409: CLOSED, 410: TOO_LATE},
)
@login_required
def cancel_product(path: HeldProductPath) -> Response:
    """All of the user's holds of it; their units can be bought again at once."""
    user_id = acting_user(path.user_id)
    records = reservations.cancel_product(user_id, path.product_id)
    data = {
        "userId": str(user_id),
        "productId": str(path.product_id),
        "quantity": sum(record.quantity for record in records),
        "reservations": [purchase_json(record) for record in records],
    }
    return ok(data, "Reservation cancelled successfully")


@blueprint.get(
    "/products/<id:product_id>/status",
    summary="A product's units: in all, held, sold and left",
    responses={200: Envelope[ProductStatusView], 404: refusal("`PRODUCT_NOT_FOUND`")},
)
@public
def product_status(path: ProductPath) -> Response:
    """Of the sale that the product is in, or was in last, and how that sale stands."""
    return ok(_status_json(reservations.product_status(path.product_id)), "Product status retrieved successfully")


@blueprint.get("/users/me/reservations", summary="My holds that run", responses={200: ReservationPage})
@login_required
def my_reservations(query: PageQuery) -> Response:
    """The first to run out stands first."""
    return _holds_of(current_user().user_id, query)


@blueprint.get(
    "/users/<id:user_id>/reservations",
    summary="A user's holds that run",
    responses={200: ReservationPage, 403: NOT_YOURS, 404: refusal("`USER_NOT_FOUND`")},
)
@login_required
def reservations_of(path: BuyerPath, query: HoldsQuery) -> Response:
    """One's own, or anybody's for an admin; the first to run out stands first."""
    viewer = current_user()
    if path.user_id != viewer.user_id:
        if not viewer.is_admin:
            raise NotYoursError
        find_user(path.user_id)
    return _holds_of(path.user_id, query)


def reservation_json(record: PurchaseRecord, product_id: int, moment: datetime) -> dict[str, Any]:
    """A hold with its product, and how long it still runs at that moment."""
    runs = record.status == Status.RESERVED and record.expires_ms is not None
    left_ms = (record.expires_ms or 0) - to_ms(moment) if runs else 0
    return {**purchase_json(record), "productId": str(product_id), "secondsLeft": max(0, left_ms) // 1000}


def _holds_of(user_id: int, query: PageQuery) -> Response:
    found, total, moment = reservations.holds_of(user_id, query.page, query.limit)
    data = [reservation_json(hold.record, hold.product_id, moment) for hold in found]
    meta = {**query.meta(total), "serverTime": to_iso(moment)}
    return ok(data, "Reservations retrieved successfully", meta=meta)


def _own_hold(purchase_id: str) -> PurchaseRecord:
    """The current user's request behind a purchase's id, settled. Raises PurchaseNotFoundError, ConflictError."""
    sale_id, ticket = _ids(purchase_id)
    record = find_purchase(sale_id, ticket, viewer_id=current_user().user_id)
    if not record.is_settled:
        raise ConflictError("The request is still in line", code="NOT_SETTLED")
    return record


def _ids(purchase_id: str) -> tuple[int, int]:
    found = parse_purchase_id(purchase_id)
    if found is None:
        raise PurchaseNotFoundError
    return found


def _checkout_json(records: Sequence[PurchaseRecord], product_id: int) -> dict[str, Any]:
    amounts = [record.total_amount for record in records if record.total_amount is not None]
    first = records[0]
    return {
        "userId": str(first.user_id),
        "productId": str(product_id),
        "saleId": str(first.sale_id),
        "quantity": sum(record.quantity for record in records),
        "totalAmount": sum(amounts, Decimal(0)) if amounts else None,
        "currency": first.currency,
        "status": first.status,
        "purchases": [purchase_json(record) for record in records],
    }


def _status_json(status: ProductStatus) -> dict[str, Any]:
    sale = status.sale
    return {
        "productId": str(status.product_id),
        "name": status.name,
        "flashSaleId": str(sale.id) if sale else None,
        "status": time_status(sale, status.at) if sale else None,
        "state": sale.state if sale else None,
        "startTime": to_iso(sale.starts_at) if sale else None,
        "endTime": to_iso(sale.ends_at) if sale and sale.ends_at else None,
        "totalStock": sale.total_stock if sale else 0,
        "reservedStock": sale.reserved if sale else 0,
        "availableStock": sale.remaining if sale else 0,
        "soldStock": sale.sold if sale else 0,
        "serverTime": to_iso(status.at),
    }
