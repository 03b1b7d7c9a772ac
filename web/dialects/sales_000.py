"""Reference 000, at the root: start a sale, purchase a product, and the leaderboard of whoever did."""

from typing import Any

from flask.wrappers import Response
from pydantic import ConfigDict, Field, RootModel

from models import sales
from models.catalogue import find_product
from models.clock import from_ms
from models.errors import FieldError, InvalidError
from models.leaderboard import LIMIT_MAX, Row, latest_across_sales
from models.purchase import Kind, purchase_id
from models.record import PurchaseRecord
from models.sale import FlashSale, SaleState
from models.sale_queries import get_sale
from web.access import admin_required, login_required, public
from web.auth import current_user, require_admin
from web.description import IDEMPOTENCY_KEY, PREFER
from web.dialects import api_001
from web.dialects.schemas_001 import RANKED_MAX, RankedView
from web.dialects.shared import admitted_iso, bare_answer, seconds_iso
from web.fields import AnyId, Moment
from web.json import json_response
from web.openapi import api_blueprint, reads, refusal
from web.purchases import REFUSED, TOO_MANY
from web.schemas import Body, Query, View
from web.schemas_reservations import Quantity
from web.synchronous import acting_user, ask_for_product

blueprint = api_blueprint(
    "sales000", __name__, url_prefix="", tag="dialect 000", about="Bare objects, by product; see docs/dialects.md"
)


class StartSaleBody(Body):
    """An open-ended sale of the default stock at the product's own price."""

    product_id: AnyId
    start_time: Moment


class PurchaseProductBody(Body):
    user_id: AnyId | None = Field(default=None, description="the token's own user")
    product_id: AnyId
    quantity: Quantity


class BoardQuery(Query):
    flash_sale_id: AnyId | None = Field(default=None, description="asks in the words of dialect 001, for admins")
    limit: int | None = Field(default=None, ge=1, le=RANKED_MAX, description="with `flashSaleId` alone")
    cursor: str | None = Field(default=None, max_length=300, description="with `flashSaleId` alone")


class StartedSaleView(View):
    # The leading underscore is the dialect's; pydantic keeps such names for itself.
    id: str = Field(alias="_id")
    product_id: str
    stock: int
    start_time: str
    is_active: bool


class BoughtView(View):
    id: str = Field(alias="_id")
    user_id: str
    product_id: str
    quantity: int
    created_at: str


class BoardRowView(View):
    user_id: str
    product_id: str
    quantity: int
    created_at: str


class BoardView(RootModel[list[BoardRowView] | list[RankedView]]):
    model_config = ConfigDict(title="Board000")


@blueprint.post(
    "/start-sale",
    summary="Start a sale of a product",
    responses={201: StartedSaleView, 404: refusal("`PRODUCT_NOT_FOUND`")},
)
@admin_required
def start_sale(body: StartSaleBody) -> Response:
    """Of 200 units, until they are sold. 400 where the product has a scheduled or live sale already."""
    product = find_product(body.product_id)
    new = sales.NewSale(product_id=product.id, title=product.name, starts_at=body.start_time)
    sale_id = sales.create_sale(new, actor_id=current_user().user_id)
    return json_response(_sale_json(get_sale(sale_id)), 201)


@blueprint.post(
    "/purchase",
    summary="Buy a product",
    responses={
        201: BoughtView,
        202: BoughtView,
        403: refusal("`NOT_YOUR_ACCOUNT`"),
        404: refusal("`PRODUCT_NOT_FOUND`, `SALE_NOT_FOUND`"),
        409: REFUSED,
        422: TOO_MANY,
    },
)
@reads(IDEMPOTENCY_KEY, PREFER)
@login_required
def purchase(body: PurchaseProductBody) -> Response:
    """Answered when it is bought; 202 if that takes too long, and `Location` then says where to ask."""
    acting_user(body.user_id)
    record = ask_for_product(body.product_id, body.quantity, Kind.PURCHASE)
    return bare_answer(record, lambda bought: _bought_json(bought, body.product_id))


@blueprint.get(
    "/leaderboard",
    summary="The latest purchases, in order",
    responses={
        200: BoardView,
        401: refusal("`TOKEN_…`: with `flashSaleId` it is for admins"),
        404: refusal("`SALE_NOT_FOUND`"),
    },
)
@public
def leaderboard(query: BoardQuery) -> Response:
    """Who bought what, the first first: the latest hundred of all sales.

    With `flashSaleId` it is dialect 001's: `GET /api/leaderboard`.
    """
    if query.flash_sale_id is not None:
        require_admin()
        return api_001.ranked(query.flash_sale_id, query.limit or RANKED_MAX, query.cursor)
    if paged := [name for name in ("limit", "cursor") if getattr(query, name) is not None]:
        raise InvalidError(fields=[FieldError(name, "needs flashSaleId beside it") for name in paged])
    return json_response([_row_json(row) for row in latest_across_sales(LIMIT_MAX)])


def _sale_json(sale: FlashSale) -> dict[str, Any]:
    return {
        "_id": str(sale.id),
        "productId": str(sale.product_id),
        "stock": sale.remaining,
        "startTime": seconds_iso(sale.starts_at),
        "isActive": not sale.paused and sale.state in (SaleState.SCHEDULED, SaleState.LIVE),
    }


def _bought_json(record: PurchaseRecord, product_id: int) -> dict[str, Any]:
    return {
        "_id": purchase_id(record.sale_id, record.ticket),
        "userId": str(record.user_id),
        "productId": str(product_id),
        "quantity": record.quantity,
        "createdAt": admitted_iso(record),
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "userId": str(row.user_id),
        "productId": str(row.product_id),
        "quantity": row.quantity,
        "createdAt": seconds_iso(from_ms(row.admitted_ms)),
    }
