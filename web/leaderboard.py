"""The leaderboards of a sale: who bought, and who bought most. Names are the admins' alone; others see a mask."""

from typing import Any

from flask.wrappers import Response

from models.archives import refuse_archived_sale
from models.clock import from_ms, to_iso
from models.errors import InvalidError
from models.first_page import FIRST_PAGE, first_page
from models.leaderboard import Place, RankedRow, Row, by_totals, chronological
from models.sale_queries import get_sale
from web.access import login_required
from web.auth import Identity, current_user
from web.cursors import decode_cursor, encode_cursor
from web.envelope import ok
from web.fields import BIGINT_MAX
from web.openapi import api_blueprint, refusal
from web.schemas_leaderboard import LeaderboardPage, LeaderboardQuery, RankedPage
from web.schemas_purchases import SalePath

blueprint = api_blueprint(
    "leaderboard",
    __name__,
    url_prefix="/api/flash-sales/<id:sale_id>/leaderboard",
    tag="leaderboard",
    about="Who bought of a sale, and who bought most",
)

NOT_FOUND = refusal("`SALE_NOT_FOUND`")
ARCHIVED = refusal("`HISTORY_ARCHIVED`, with what the sale came to in `data`")
BY_ADMISSION = "leaderboard"
BY_TOTALS = "totals"


@blueprint.get(
    "", summary="Who bought, in order of admission", responses={200: LeaderboardPage, 404: NOT_FOUND, 410: ARCHIVED}
)
@login_required
def in_order_of_admission(path: SalePath, query: LeaderboardQuery) -> Response:
    """The first page may be a second old. Goes on with `cursor` = `meta.nextCursor` until that is null."""
    viewer = current_user()
    after_ticket, position = _read_cursor(BY_ADMISSION, query.cursor, path.sale_id, 2) or (0, 0)
    if query.cursor is None and query.limit <= FIRST_PAGE:
        rows = first_page(path.sale_id)
    else:
        if get_sale(path.sale_id).history_archived_at is not None:
            refuse_archived_sale(path.sale_id)
        rows = chronological(path.sale_id, query.limit + 1, after_ticket)
    page = rows[: query.limit]
    more = None
    if len(rows) > query.limit:
        more = encode_cursor(BY_ADMISSION, path.sale_id, page[-1].ticket, position + query.limit)
    data = [_row_json(row, place, viewer) for place, row in enumerate(page, position + 1)]
    return ok(data, "Leaderboard retrieved successfully", meta={"limit": query.limit, "nextCursor": more})


@blueprint.get("/totals", summary="Who bought most, with ranks", responses={200: RankedPage, 404: NOT_FOUND})
@login_required
def by_units(path: SalePath, query: LeaderboardQuery) -> Response:
    """Equals share a rank and the next rank is skipped (1, 1, 3), on this page and across pages."""
    viewer = current_user()
    page, more = totals_page(path.sale_id, query.limit, query.cursor)
    data = [_ranked_json(row, viewer) for row in page]
    return ok(data, "Leaderboard retrieved successfully", meta={"limit": query.limit, "nextCursor": more})


def totals_page(sale_id: int, limit: int, cursor: str | None) -> tuple[list[RankedRow], str | None]:
    """A page of who bought most of a sale, and the cursor of the next one; None: there is none.

    Raises SaleNotFoundError, and InvalidError for a cursor of another list.
    """
    place = _read_cursor(BY_TOTALS, cursor, sale_id, 4)
    get_sale(sale_id)
    rows = by_totals(sale_id, limit + 1, Place(*place) if place else None)
    page = rows[:limit]
    if len(rows) <= limit:
        return page, None
    last = page[-1].place
    return page, encode_cursor(BY_TOTALS, sale_id, last.units, last.first_ticket, last.rank, last.position)


def masked(name: str) -> str:
    """The first and the last character of a name; no part of a name that is too short to hide anything in."""
    name = name.strip()
    if len(name) < 3:  # noqa: PLR2004 - nothing would be left to hide
        return f"{name[:1]}***"
    return f"{name[0]}***{name[-1]}"


def _row_json(row: Row, position: int, viewer: Identity) -> dict[str, Any]:
    return {
        "position": position,
        "ticket": row.ticket,
        **_buyer_json(row, viewer),
        "quantity": row.quantity,
        "purchasedAt": to_iso(from_ms(row.admitted_ms)),
        "isYou": row.user_id == viewer.user_id,
    }


def _ranked_json(row: RankedRow, viewer: Identity) -> dict[str, Any]:
    return {
        "rank": row.rank,
        **_buyer_json(row, viewer),
        "totalUnits": row.units,
        "isYou": row.user_id == viewer.user_id,
    }


def _buyer_json(row: Row | RankedRow, viewer: Identity) -> dict[str, Any]:
    if viewer.is_admin:
        return {"name": row.name, "email": row.email, "userId": str(row.user_id)}
    return {"name": masked(row.name) if row.name else None, "email": None, "userId": None}


def _read_cursor(kind: str, cursor: str | None, sale_id: int, values: int) -> list[int] | None:
    """The values of a cursor of this list of this sale. Raises InvalidError for any other."""
    if cursor is None:
        return None
    of_sale, *found = decode_cursor(kind, cursor, (int,) * (values + 1))
    if of_sale != sale_id or not all(0 <= value <= BIGINT_MAX for value in found):
        raise InvalidError.field("cursor", "is no cursor of this list")
    return found
