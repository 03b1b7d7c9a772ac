"""Users, their purchases, and the movements of stock at the desk."""

from typing import Any

from flask import render_template, request
from pydantic import Field
from werkzeug.wrappers import Response as AnyResponse

from models.accounts import find_user
from models.clock import from_ms, to_iso
from models.ledger import PurchaseFilter, movements, purchases_of_sale
from models.purchase import Status, purchase_id
from models.purchases import purchases_of
from models.record import PurchaseRecord
from web import purchases as purchases_api
from web import reservations as reservations_api
from web import users as users_api
from web.auth import admin_required
from web.cursors import decode_cursor, encode_cursor
from web.desk.acting import ROWS, ask, read_query
from web.desk.forms import DeskForm, Input
from web.desk.pages import (
    Cell,
    Table,
    desk_blueprint,
    go_to,
    link,
    next_page,
    numbered_pages,
    price,
    send,
    show_form,
    show_table,
    when,
)
from web.fields import Id
from web.schemas import Query
from web.schemas_accounts import UsersQuery
from web.schemas_purchases import PurchasePath, WaitQuery
from web.schemas_reservations import RefundBody

blueprint = desk_blueprint("people")

OF_BUYER, OF_SALE, MOVEMENTS = "desk-buyer", "desk-sale", "desk-movements"
PURCHASE_COLUMNS = ("Purchase", "Sale", "Buyer", "Kind", "Units", "Sum", "Outcome", "Admitted", "Settled")
STATUSES = [(str(status), str(status).capitalize()) for status in Status if status is not Status.QUEUED]


class PurchasesQuery(Query):
    sale_id: Id | None = None
    user_id: Id | None = None
    status: Status | None = None
    cursor: str | None = Field(default=None, max_length=300)


class MovementsQuery(Query):
    sale_id: Id | None = None
    cursor: str | None = Field(default=None, max_length=300)


@blueprint.get("/users")
@admin_required
def users() -> str:
    answer = ask(users_api.list_all, query=read_query(UsersQuery, limit=ROWS))
    rows = [
        (link(f"/admin/users/{user['id']}", user["name"]), user["email"], user["role"], when(user["createdAt"]))
        for user in answer.data
    ]
    search = (Input("search", "Name or address"),)
    return show_table(Table("Users", ("Name", "Email", "Role", "Since"), rows, search, pages=numbered_pages(answer)))


@blueprint.get("/users/<id:user_id>")
@admin_required
def user(user_id: int) -> str:
    found = find_user(user_id)
    return render_template(
        "desk/user.html",
        account=found,
        columns=PURCHASE_COLUMNS,
        purchases=[_purchase_row(each) for each in purchases_of(user_id, ROWS)],
    )


@blueprint.get("/purchases")
@admin_required
def purchases() -> str:
    """Of a sale, or of a buyer, or of a buyer in a sale: each by an index of its own."""
    query = read_query(PurchasesQuery)
    found, pages = _find_purchases(query)
    search = (
        Input("saleId", "Sale (its id)"),
        Input("userId", "Buyer (their id)"),
        Input("status", "Outcome, with a sale", "choice", choices=STATUSES),
    )
    about = "" if query.sale_id or query.user_id else "Say which sale or which buyer."
    rows = [_purchase_row(each) for each in found]
    return show_table(Table("Purchases", PURCHASE_COLUMNS, rows, search, pages=pages, about=about))


def _find_purchases(query: PurchasesQuery) -> tuple[list[PurchaseRecord], list[tuple[str, str]]]:
    if query.sale_id is not None:
        before = decode_cursor(OF_SALE, query.cursor, (int,))[0] if query.cursor else None
        which = PurchaseFilter(query.user_id, query.status)
        found = purchases_of_sale(query.sale_id, which, ROWS + 1, before)
        more = encode_cursor(OF_SALE, found[ROWS - 1].ticket) if len(found) > ROWS else None
    elif query.user_id is not None:
        found = purchases_of(query.user_id, ROWS + 1, purchases_api.read_cursor(query.cursor))
        place = purchases_api.place_of(found[ROWS - 1]) if len(found) > ROWS else None
        more = encode_cursor(purchases_api.CURSOR, *place) if place else None
    else:
        found, more = [], None
    return found[:ROWS], next_page(more)


@blueprint.route("/purchases/<purchase_id>", methods=["GET", "POST"])
@admin_required
def purchase(purchase_id: str) -> AnyResponse:
    """One purchase, and the form that takes it back."""
    path = PurchasePath(purchase_id=purchase_id)
    shown = ask(purchases_api.by_id, path=path, query=WaitQuery()).data
    form = DeskForm(RefundBody, [Input("reason", "Why it is taken back", required=True)])
    if request.method == "POST" and send(form, reservations_api.refund, path=path):
        return go_to(f"/admin/purchases/{purchase_id}")
    return show_form(form, f"Purchase {purchase_id}", "Refund", "desk/purchase.html", purchase=shown)


@blueprint.get("/movements")
@admin_required
def list_movements() -> str:
    query = read_query(MovementsQuery)
    before = decode_cursor(MOVEMENTS, query.cursor, (int,))[0] if query.cursor else None
    found = movements(query.sale_id, ROWS + 1, before)
    pages = next_page(encode_cursor(MOVEMENTS, found[ROWS - 1].id) if len(found) > ROWS else None)
    rows = [
        (
            when(to_iso(each.at)),
            link(f"/admin/sales/{each.sale_id}", f"Sale {each.sale_id}"),
            each.kind.replace("_", " "),
            f"{each.quantity:+}",
            _id_link(each.sale_id, each.ticket) if each.ticket else "",
            link(f"/admin/users/{each.actor_id}", f"user {each.actor_id}") if each.actor_id else "the system",
            each.reason,
        )
        for each in found[:ROWS]
    ]
    columns = ("When", "Sale", "What", "Units", "Purchase", "Who", "Why")
    return show_table(Table("Movements", columns, rows, (Input("saleId", "Sale (its id)"),), pages=pages))


def _purchase_row(record: PurchaseRecord) -> tuple[Cell, ...]:
    total: Any = record.total_amount
    outcome = record.status.capitalize() + (f" ({record.reason})" if record.reason else "")
    return (
        _id_link(record.sale_id, record.ticket),
        link(f"/admin/sales/{record.sale_id}", f"Sale {record.sale_id}"),
        link(f"/admin/users/{record.user_id}", f"user {record.user_id}"),
        record.kind,
        str(record.quantity),
        price(total, record.currency),
        outcome,
        when(_iso(record.admitted_ms)),
        when(_iso(record.settled_ms)),
    )


def _id_link(sale_id: int, ticket: int) -> Cell:
    shown = purchase_id(sale_id, ticket)
    return link(f"/admin/purchases/{shown}", shown)


def _iso(milliseconds: int | None) -> str | None:
    return to_iso(from_ms(milliseconds)) if milliseconds else None
