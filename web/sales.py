"""Flash sales: read by anybody, made and changed by admins."""

from typing import Any

from flask.wrappers import Response

from models import sales
from models.errors import FieldError, InvalidError
from models.sale_queries import SaleFilter, get_sale, list_sales, live_sales
from web.access import admin_required, public
from web.audits import audit_of
from web.auth import current_user, optional_user
from web.envelope import ok
from web.fresh import kept_fresh
from web.openapi import api_blueprint, refusal
from web.sale_json import audit_json, sale_json
from web.schemas import Envelope, PageEnvelope
from web.schemas_purchases import SalePath
from web.schemas_sales import NULLABLE, AuditView, NewSaleBody, SaleListQuery, SalePatchBody, SaleView
from web.wake import waker

blueprint = api_blueprint(
    "sales", __name__, url_prefix="/api/flash-sales", tag="flash sales", about="One run of one product, with its stock"
)

ONE: Any = {200: Envelope[SaleView], 404: refusal("`SALE_NOT_FOUND`")}
HIDDEN: Any = {**ONE, 410: refusal("`HISTORY_ARCHIVED`")}
CHANGED: Any = {**HIDDEN, 409: refusal("`ENDED`, `SALE_STARTED`, `SALE_CANCELLED`")}
# Names of the API's fields as the rules know them.
INNER = {"start_time": "starts_at", "end_time": "ends_at", "is_active": "active", "is_featured": "featured"}


@blueprint.get("", summary="A page of sales", responses={200: PageEnvelope[SaleView]})
@public
def list_all(query: SaleListQuery) -> Response:
    """`status` filters by the clock; `sortBy` names a field of a sale. At most 100,000 sales may lie before a page: to
    see the others, narrow the list with its filters."""
    wanted = SaleFilter(
        page=query.page,
        limit=query.limit,
        search=query.search_term,
        status=query.status,
        active=query.is_active,
        featured=query.is_featured,
        product_id=query.product_id,
        sort_by=query.sort_by,
        descending=query.sort_order == "desc",
    )
    found, total = list_sales(wanted)
    return ok([sale_json(sale) for sale in found], "Flash sales retrieved successfully", meta=query.meta(total))


@blueprint.get("/live", summary="What can be bought now, featured first", responses={200: Envelope[list[SaleView]]})
@public
@kept_fresh
def list_live() -> Response:
    """At most a hundred; `GET /api/flash-sales?status=LIVE` has all of them by page."""
    return ok([sale_json(sale) for sale in live_sales()], "Live flash sales retrieved successfully")


@blueprint.get("/<id:sale_id>", summary="One sale", responses=ONE)
@public
@kept_fresh
def show(path: SalePath) -> Response:
    return _sale(path.sale_id, "Flash sale retrieved successfully")


@blueprint.post("", summary="Make a sale", responses={201: Envelope[SaleView], 404: refusal("`PRODUCT_NOT_FOUND`")})
@admin_required
def create(body: NewSaleBody) -> Response:
    """A start in the past opens it at once. 400 where the product has a scheduled or live sale already."""
    new = sales.NewSale(
        product_id=body.product_id,
        title=body.title,
        description=body.description,
        flash_price=body.flash_price,
        total_stock=body.total_stock,
        starts_at=body.start_time,
        ends_at=body.end_time,
        featured=body.is_featured,
        max_per_purchase=body.max_per_purchase,
        max_per_user=body.max_per_user,
        hold_seconds=body.hold_seconds,
        dedicated=body.dedicated,
    )
    sale_id = sales.create_sale(new, actor_id=current_user().user_id)
    location = {"Location": f"/api/flash-sales/{sale_id}"}
    return ok(sale_json(get_sale(sale_id)), "Flash sale created successfully", status=201, headers=location)


@blueprint.patch("/<id:sale_id>", summary="Change a sale", responses=CHANGED)
@admin_required
def patch(path: SalePath, body: SalePatchBody) -> Response:
    """Stock can be raised at any time, and lowered to what is sold and held. A time that is sent back as it was shown
    stays as it is."""
    given = body.given()
    nulls = [name for name, value in given.items() if value is None and name not in NULLABLE]
    if nulls:
        aliases = SalePatchBody.model_fields
        raise InvalidError(fields=[FieldError(aliases[name].alias or name, "must not be null") for name in nulls])
    changes = {INNER.get(name, name): value for name, value in given.items()}
    get_sale(path.sale_id)
    if changes:
        sales.patch_sale(path.sale_id, changes, actor_id=current_user().user_id)
    return _sale(path.sale_id, "Flash sale updated successfully")


@blueprint.delete("/<id:sale_id>", summary="Take a sale out of sight", responses=HIDDEN)
@admin_required
def delete(path: SalePath) -> Response:
    """It ends at once, and is no longer found; its purchases are history and are never erased. Whoever holds units may
    check them out until their hold runs out."""
    shown = sale_json(get_sale(path.sale_id))
    sales.archive_sale(path.sale_id)
    return ok(shown, "Flash sale deleted successfully")


@blueprint.post("/<id:sale_id>/pause", summary="Hold a sale back", responses=CHANGED)
@admin_required
def pause(path: SalePath) -> Response:
    """New requests are refused and waiting ones rejected, until it is resumed."""
    sales.pause_sale(path.sale_id)
    return _sale(path.sale_id, "Flash sale paused")


@blueprint.post("/<id:sale_id>/resume", summary="Let a paused sale go on", responses=CHANGED)
@admin_required
def resume(path: SalePath) -> Response:
    sales.resume_sale(path.sale_id)
    return _sale(path.sale_id, "Flash sale resumed")


@blueprint.post("/<id:sale_id>/end", summary="End a sale now", responses=CHANGED)
@admin_required
def end(path: SalePath) -> Response:
    """Who was admitted before this moment is served."""
    sales.end_sale(path.sale_id)
    return _sale(path.sale_id, "Flash sale ended")


@blueprint.post("/<id:sale_id>/cancel", summary="Call a sale off", responses=CHANGED)
@admin_required
def cancel(path: SalePath) -> Response:
    """Nobody gets in any more, and waiting requests are rejected; what was sold stays sold. Whoever holds units may
    check them out until their hold runs out."""
    sales.cancel_sale(path.sale_id)
    return _sale(path.sale_id, "Flash sale cancelled")


@blueprint.post("/<id:sale_id>/wake", summary="Ask for a sale's line to be settled", responses=ONE)
@admin_required
def wake(path: SalePath) -> Response:
    """Harmless at any time; the sweeper does the same within two seconds."""
    waker().wake(path.sale_id, dedicated=get_sale(path.sale_id).dedicated)
    return _sale(path.sale_id, "A wake-up was sent")


@blueprint.get(
    "/<id:sale_id>/audit",
    summary="Recount a sale's purchases against its stock",
    responses={200: Envelope[AuditView], 404: refusal("`SALE_NOT_FOUND`")},
)
@public
def audit(path: SalePath) -> Response:
    """The proof that not a unit too many was sold: for everybody to see, also of a deleted sale, whose books are kept.
    Admins always get a fresh count."""
    user = optional_user()
    found = audit_of(path.sale_id, fresh=user is not None and user.is_admin)
    return ok(audit_json(found), "The counts agree" if found.agrees else "The counts do not agree")


def _sale(sale_id: int, message: str) -> Response:
    return ok(sale_json(get_sale(sale_id)), message)
