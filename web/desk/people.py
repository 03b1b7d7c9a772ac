"""Users, their purchases, and the movements of stock at the desk."""

from collections.abc import Mapping
from typing import Any, Literal

from flask import request
from pydantic import Field
from werkzeug.wrappers import Response as AnyResponse

from models.clock import from_ms, to_iso
from models.ledger import PurchaseFilter, movements, purchases_of_sale
from models.passwords import LENGTH_MIN
from models.purchase import Status, purchase_id
from models.purchases import purchases_of
from models.record import PurchaseRecord
from models.user import Role
from web import purchases as purchases_api
from web import reservations as reservations_api
from web import users as users_api
from web.access import admin_required
from web.auth import current_user
from web.cursors import decode_cursor, encode_cursor
from web.desk.acting import ROWS, act, ask, made_id, read_query
from web.desk.forms import DeskForm, Input
from web.desk.pages import (
    Button,
    Cell,
    Question,
    Table,
    desk_blueprint,
    go_to,
    link,
    next_page,
    numbered_pages,
    price,
    send,
    show_form,
    show_question,
    show_table,
    when,
)
from web.fields import Id
from web.schemas import Query
from web.schemas_accounts import NewUserBody, UserChangesBody, UserPath, UsersQuery
from web.schemas_purchases import PurchasePath, WaitQuery
from web.schemas_reservations import RefundBody

blueprint = desk_blueprint("people")

OF_BUYER, OF_SALE, MOVEMENTS = "desk-buyer", "desk-sale", "desk-movements"
PURCHASE_COLUMNS = ("Purchase", "Sale", "Buyer", "Kind", "Units", "Sum", "Outcome", "Admitted", "Settled")
NAME = Input("name", "Name", required=True)
NEW_USER = (
    NAME,
    Input("email", "Email", required=True),
    Input("password", "Password", "password", f"At least {LENGTH_MIN} characters", required=True),
    Input("role", "Role", "choice", required=True, choices=[("customer", "Customer"), ("admin", "Admin")]),
)
LOGGED_OUT = "They are logged out everywhere at once"
# What is asked about a user, what it does, and the word on the button.
DEEDS = {
    "block": (
        "Block {}?",
        f"{LOGGED_OUT} and cannot log in. What they bought and hold stays, and what is in line is settled.",
        "Block",
    ),
    "unblock": ("Unblock {}?", "They can log in again, with the password that they had.", "Unblock"),
    "make-admin": (
        "Make {} an admin?",
        f"They may do everything here, this too. {LOGGED_OUT}, and are an admin when they log in again.",
        "Make admin",
    ),
    "make-customer": (
        "Make {} a customer?",
        f"They may do nothing here any more. {LOGGED_OUT}, and are a customer when they log in again.",
        "Make customer",
    ),
}
DEED = f"<any({', '.join(repr(deed) for deed in DEEDS)}):action>"
ROLE_OF: dict[str, Literal["customer", "admin"]] = {"make-admin": "admin", "make-customer": "customer"}
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
        (
            link(f"/admin/users/{user['id']}", user["name"]),
            user["email"],
            user["role"],
            when(user["createdAt"]),
            when(user["blockedAt"]),
        )
        for user in answer.data
    ]
    columns = ("Name", "Email", "Role", "Since", "Blocked")
    search = (Input("search", "Name or address"),)
    return show_table(Table("Users", columns, rows, search, ("New user", "/admin/users/new"), numbered_pages(answer)))


@blueprint.route("/users/new", methods=["GET", "POST"])
@admin_required
def new_user() -> AnyResponse:
    form = DeskForm(NewUserBody, NEW_USER)
    if request.method == "POST" and (answer := send(form, users_api.create)):
        return go_to(f"/admin/users/{made_id(answer)}")
    return show_form(form, "New user", "Create")


@blueprint.route("/users/<id:user_id>", methods=["GET", "POST"])
@admin_required
def user(user_id: int) -> AnyResponse:
    """One account: what it bought, another name, and the deeds that its state allows."""
    path = UserPath(user_id=user_id)
    account = ask(users_api.show, path=path).data
    form = DeskForm(UserChangesBody, (NAME,), account)
    if request.method == "POST" and send(form, users_api.change, path=path):
        return go_to(f"/admin/users/{user_id}")
    is_own = user_id == current_user().user_id
    return show_form(
        form,
        account["name"],
        "Save",
        "desk/user.html",
        account=account,
        is_own=is_own,
        blocked=when(account["blockedAt"]),
        since=when(account["createdAt"]),
        buttons=[] if is_own else _buttons(account),
        columns=PURCHASE_COLUMNS,
        purchases=[_purchase_row(each) for each in purchases_of(user_id, ROWS)],
    )


@blueprint.get(f"/users/<id:user_id>/{DEED}")
@admin_required
def ask_about_user(user_id: int, action: str) -> str:
    name = ask(users_api.show, path=UserPath(user_id=user_id)).data["name"]
    title, words, button = DEEDS[action]
    return show_question(Question(title.format(name), words, button, back=f"/admin/users/{user_id}"))


@blueprint.post(f"/users/<id:user_id>/{DEED}")
@admin_required
def change_user(user_id: int, action: str) -> AnyResponse:
    path = UserPath(user_id=user_id)
    if action in ROLE_OF:
        act(users_api.change, path=path, body=UserChangesBody(role=ROLE_OF[action]))
    else:
        act(users_api.block if action == "block" else users_api.unblock, path=path)
    return go_to(f"/admin/users/{user_id}")


def _buttons(account: Mapping[str, Any]) -> list[Button]:
    """What can be done with somebody else's account; each asks first."""
    first = "unblock" if account["blockedAt"] else "block"
    second = "make-customer" if account["role"] == Role.ADMIN else "make-admin"
    return [Button(DEEDS[deed][2], f"/admin/users/{account['id']}/{deed}", asks=True) for deed in (first, second)]


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
