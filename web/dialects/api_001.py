"""Reference 001, under /api and, as its examples write it, without: accounts, products, sales by discount, purchases,
and the leaderboard by totals. Its WebSocket at the root is web/sockets.py itself.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlencode

from flask import request
from flask.wrappers import Response
from flask_openapi.openapi import OpenAPI

from models import accounts, catalogue, sales, tokens
from models.catalogue import NewProduct
from models.clock import now
from models.errors import InvalidError
from models.leaderboard import RankedRow
from models.purchase import Kind, purchase_id
from models.record import PurchaseRecord
from models.sale import FlashSale
from models.sale_queries import get_sale
from models.user import Role
from web.access import admin_required, login_required, public
from web.auth import current_user
from web.description import IDEMPOTENCY_KEY, PREFER
from web.dialects.schemas_001 import (
    AccountView,
    BoughtInSaleView,
    DiscountSaleBody,
    DiscountSaleView,
    PricedProductBody,
    PricedProductView,
    PurchaseInSaleBody,
    RankedQuery,
    RankingView,
    SignedInView,
)
from web.dialects.shared import admitted_iso, bare_answer, seconds_iso
from web.json import json_response
from web.leaderboard import totals_page
from web.limits import limit_logins, limit_signups
from web.openapi import api_blueprint, reads, refusal
from web.purchases import REFUSED, TOO_MANY, ask_for
from web.sale_json import time_status
from web.schemas_accounts import LoginBody, SignUpBody
from web.synchronous import wait_seconds

PREFIX = "/api"
blueprint = api_blueprint(
    "api001", __name__, url_prefix=PREFIX, tag="dialect 001", about="Bare objects, by sale; see docs/dialects.md"
)
STATUSES = {"UPCOMING": "pending", "LIVE": "active", "PAUSED": "active", "ENDED": "ended"}
# The document names the same call twice.
OTHER_NAMES = {"create_flash_sale": ("/flash-sale", f"{PREFIX}/flash-sale")}
# At the root this is dialect 000's, which hands over what is meant for us.
TAKEN = frozenset({"/leaderboard"})


@blueprint.post(
    "/signup",
    summary="Make an account",
    responses={201: AccountView, 403: refusal("`ADMIN_SIGNUP_FORBIDDEN`"), 409: refusal("`EMAIL_TAKEN`")},
)
@public
@limit_signups
def sign_up(body: SignUpBody) -> Response:
    """A customer, unless `role` says admin and the settings allow it."""
    user = accounts.sign_up(body.name, body.email, body.password, Role(body.role))
    return json_response({"id": str(user.id), "name": user.name, "email": user.email, "role": user.role}, 201)


@blueprint.post(
    "/signin",
    summary="Log in",
    responses={200: SignedInView, 401: refusal("`BAD_CREDENTIALS`"), 403: refusal("`ACCOUNT_BLOCKED`")},
)
@public
@limit_logins
def sign_in(body: LoginBody) -> Response:
    """Get an access token; there is no refresh token in this dialect."""
    user = accounts.log_in(body.email, body.password)
    token = tokens.issue_access_token(user.id, user.role, generation=user.token_generation)
    shown = {"name": user.name, "email": user.email, "role": user.role}
    return json_response({"user": shown, "accessToken": token})


@blueprint.post("/create-product", summary="Make a product", responses={201: PricedProductView})
@admin_required
def create_product(body: PricedProductBody) -> Response:
    """With a price, that sales take their discount of."""
    product = catalogue.create_product(NewProduct(**body.given()))
    return json_response(
        {
            "id": str(product.id),
            "name": product.name,
            "description": product.description,
            "price": product.price,
        },
        201,
    )


@blueprint.post(
    "/create-flash-sale",
    summary="Make a sale at a discount",
    responses={201: DiscountSaleView, 404: refusal("`PRODUCT_NOT_FOUND`")},
)
@admin_required
def create_flash_sale(body: DiscountSaleBody) -> Response:
    """Of 200 units, or of `stock`. 400 where the product has a scheduled or live sale already."""
    product = catalogue.find_product(body.product_id)
    new = sales.NewSale(
        product_id=product.id,
        title=product.name,
        flash_price=discounted(product.price, body.discount),
        total_stock=body.stock,
        starts_at=body.start_time,
        ends_at=body.end_time,
        max_per_purchase=body.max_per_purchase,
        max_per_user=body.max_per_user,
    )
    sale_id = sales.create_sale(new, actor_id=current_user().user_id)
    return json_response(_sale_json(get_sale(sale_id), body.discount), 201)


@blueprint.post(
    "/purchase-product",
    summary="Buy units of a sale",
    responses={
        201: BoughtInSaleView,
        202: BoughtInSaleView,
        404: refusal("`SALE_NOT_FOUND`"),
        409: REFUSED,
        422: TOO_MANY,
    },
)
@reads(IDEMPOTENCY_KEY, PREFER)
@login_required
def purchase_product(body: PurchaseInSaleBody) -> Response:
    """Answered when it is bought; 202 if that takes too long, and `Location` then says where to ask."""
    return bare_answer(ask_for(body.flash_sale_id, body.quantity, Kind.PURCHASE, wait_seconds()), _bought_json)


@blueprint.get(
    "/leaderboard",
    summary="Who bought most of a sale",
    responses={200: RankingView, 404: refusal("`SALE_NOT_FOUND`")},
)
@admin_required
def leaderboard(query: RankedQuery) -> Response:
    """Up to a thousand, and where there are more, `Link` has the address of the next page; equals share a rank."""
    return ranked(query.flash_sale_id, query.limit, query.cursor)


def ranked(sale_id: int, limit: int, cursor: str | None) -> Response:
    """A page of the ranking of a sale, for admins' eyes. Raises SaleNotFoundError and InvalidError."""
    rows, more = totals_page(sale_id, limit, cursor)
    response = json_response([_ranked_json(row) for row in rows])
    if more is not None:
        # A bare list has no room for `meta.nextCursor`: RFC 8288, section 3.
        query = urlencode({"flashSaleId": sale_id, "limit": limit, "cursor": more})
        response.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    return response


def discounted(price: Decimal | None, percent: Decimal) -> Decimal:
    """The price less so many percent, in whole cents. Raises InvalidError where that is none that can be asked."""
    if price is None:
        raise InvalidError.field("discount", "the product has no price to take it of")
    asked = (price * (100 - percent) / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
    if not 0 < asked < price:
        raise InvalidError.field("discount", f"leaves no price between 0 and {price}")
    return asked


def serve_without_prefix(app: OpenAPI) -> None:
    """Serve the same views at the paths as the document's examples write them."""
    for rule in list(app.url_map.iter_rules()):
        name = rule.endpoint.removeprefix(f"{blueprint.name}.")
        if name == rule.endpoint:
            continue
        bare = rule.rule.removeprefix(PREFIX)
        for path in (*(() if bare in TAKEN else (bare,)), *OTHER_NAMES.get(name, ())):
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            app.add_url_rule(path, rule.endpoint, app.view_functions[rule.endpoint], methods=methods)


def _sale_json(sale: FlashSale, discount: Decimal) -> dict[str, Any]:
    return {
        "id": str(sale.id),
        "productId": str(sale.product_id),
        "startTime": seconds_iso(sale.starts_at),
        "endTime": seconds_iso(sale.ends_at) if sale.ends_at else None,
        "discount": discount,
        "status": STATUSES[time_status(sale, now())],
    }


def _bought_json(record: PurchaseRecord) -> dict[str, Any]:
    return {
        "id": purchase_id(record.sale_id, record.ticket),
        "userId": str(record.user_id),
        "flashSaleId": str(record.sale_id),
        "quantity": record.quantity,
        "purchasedAt": admitted_iso(record),
        "status": record.status,
    }


def _ranked_json(row: RankedRow) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "name": row.name or "",
        "email": row.email or "",
        "totalPurchases": row.units,
        "userId": str(row.user_id),
    }
