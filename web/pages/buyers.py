"""The buyers' pages: the sales, one sale, and one's own account."""

from typing import Any

from flask import Blueprint, render_template, request

from models import reservations
from models.accounts import find_user
from models.clock import now
from models.purchase import Status, purchase_id
from models.purchases import purchases_of
from models.record import PurchaseRecord
from models.sale import FlashSale
from models.sale_queries import SaleFilter, TimeStatus, get_sale, list_sales, titles_of
from web.access import login_required, public
from web.auth import current_user, welcome_user
from web.cursors import encode_cursor
from web.purchase_json import purchase_json
from web.purchases import CURSOR, message_of, place_of, read_cursor
from web.sale_json import sale_json, time_status

blueprint = Blueprint("pages", __name__)

# Sockets join at most fifty sales.
LIVE_SHOWN_MAX = 30
PAUSED_SHOWN_MAX = 6
NEXT_SHOWN_MAX = 12
PAST_SHOWN_MAX = 12
OWN_SHOWN_MAX = 20
HOLDS_SHOWN_MAX = 20
# The most that the field suggests where nothing limits a purchase; more can be typed.
QUANTITY_SUGGESTED_MAX = 10
# What the list's script follows of a sale (web/static/js/sale-state.js).
TIMES = ("startTime", "endTime")
UNITS = ("totalStock", "remainingStock", "settledThrough")
MOVING = ("id", "seq", "state", "isActive", "endReason", *TIMES, *UNITS)


@blueprint.get("/")
@public
def home() -> str:
    """What is live or held back; what comes next; what is over. Featured first."""
    live = _sales(TimeStatus.LIVE, LIVE_SHOWN_MAX, descending=True)
    paused = _sales(TimeStatus.PAUSED, PAUSED_SHOWN_MAX, descending=True)
    upcoming = _sales(TimeStatus.UPCOMING, NEXT_SHOWN_MAX, descending=False)
    past = _sales(TimeStatus.ENDED, PAST_SHOWN_MAX, descending=True)
    return render_template(
        "home.html",
        live=live,
        paused=paused,
        upcoming=upcoming,
        past=past,
        page={"sales": [_moving(sale) for sale in (*live, *paused, *upcoming)], "serverTime": now()},
    )


@blueprint.get("/sales/<id:sale_id>")
@public
def sale(sale_id: int) -> str:
    """Raises SaleNotFoundError."""
    # The sale first: whatever happens to the buyer's purchases after its `seq` is told over the socket.
    found = get_sale(sale_id)
    user = welcome_user()
    own = purchases_of(user.user_id, OWN_SHOWN_MAX, sale_id=sale_id) if user else []
    return render_template(
        "sale.html",
        sale=found,
        status=time_status(found, now()),
        quantity_max=_quantity_max(found),
        page={
            "sale": sale_json(found),
            "purchases": [purchase_json(record) for record in own],
            "userId": str(user.user_id) if user else None,
        },
    )


@blueprint.get("/account")
@login_required
def account() -> str:
    user = find_user(current_user().user_id)
    held, _, moment = reservations.holds_of(user.id, 1, HOLDS_SHOWN_MAX)
    after = read_cursor(request.args.get("cursor"))
    records = purchases_of(user.id, OWN_SHOWN_MAX + 1, after)
    page = records[:OWN_SHOWN_MAX]
    more = encode_cursor(CURSOR, *place_of(page[-1])) if len(records) > OWN_SHOWN_MAX else None
    return render_template(
        "account.html",
        account=user,
        holds=[hold.record for hold in held],
        purchases=[record for record in page if record.status != Status.RESERVED],
        titles=titles_of({record.sale_id for record in (*page, *(hold.record for hold in held))}),
        message_of=message_of,
        id_of=_id_of,
        more=more,
        page={"holds": [purchase_json(hold.record) for hold in held], "serverTime": moment},
    )


def _sales(status: TimeStatus, limit: int, *, descending: bool) -> list[FlashSale]:
    wanted = SaleFilter(limit=limit, status=status, sort_by="startTime", descending=descending)
    return sorted(list_sales(wanted)[0], key=lambda sale: not sale.featured)


def _moving(sale: FlashSale) -> dict[str, Any]:
    shown = sale_json(sale)
    return {name: shown[name] for name in MOVING}


def _quantity_max(sale: FlashSale) -> int:
    limits = [limit for limit in (sale.max_per_purchase, sale.max_per_user) if limit]
    return min([*limits, sale.total_stock or 1]) if limits else min(QUANTITY_SUGGESTED_MAX, sale.total_stock or 1)


def _id_of(record: PurchaseRecord) -> str:
    return purchase_id(record.sale_id, record.ticket)
