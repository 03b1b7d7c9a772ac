"""Sales at the desk: found, made, changed, and each thing that an operator can do to one."""

from dataclasses import replace
from typing import Any

from flask import redirect, request
from werkzeug.wrappers import Response as AnyResponse

from models.sale_queries import TimeStatus
from web import sales as api
from web import series as series_api
from web.access import admin_required
from web.desk.acting import ROWS, act, ask, made_id, read_query
from web.desk.forms import DeskForm, Input
from web.desk.pages import (
    Button,
    Question,
    Table,
    desk_blueprint,
    go_to,
    link,
    numbered_pages,
    send,
    show_form,
    show_question,
    show_table,
    when,
)
from web.schemas_purchases import SalePath
from web.schemas_sales import NewSaleBody, SaleListQuery, SalePatchBody

blueprint = desk_blueprint("sales", "/sales")

COMMON = (
    Input("title", "Title", required=True),
    Input("description", "Description", "long"),
    Input("flashPrice", "Flash price", "price", "Below the original price"),
    Input("totalStock", "Total stock", "number", "Units; raised at any time, lowered to what is sold and held"),
    Input("startTime", "Starts (UTC)", "moment", required=True),
    Input("endTime", "Ends (UTC)", "moment", "Empty: when it is sold out"),
    Input("maxPerPurchase", "Most for one purchase", "number"),
    Input("maxPerUser", "Most for one buyer", "number"),
    Input("holdSeconds", "A hold lasts (seconds)", "number"),
    Input("isFeatured", "Featured", "flag"),
    Input("dedicated", "Settled by a worker of its own", "flag"),
)
NEW = (
    COMMON[0],
    Input("productId", "Product (its id)", required=True),
    *(replace(each, required=True) if each.name == "flashPrice" else each for each in COMMON[1:]),
)
SEARCH = (
    Input("searchTerm", "Title"),
    Input("status", "Status", "choice", choices=[(str(each), each.capitalize()) for each in TimeStatus]),
    Input("productId", "Product"),
)
# What a button of the desk asks the API for.
ACTIONS: dict[str, Any] = {
    "pause": api.pause,
    "resume": api.resume,
    "end": api.end,
    "cancel": api.cancel,
    "wake": api.wake,
    "archive": api.delete,
}
# What the live desk does without leaving the page.
IN_PLACE = frozenset({"end", "restart"})
# What cannot be taken back is asked first: the question, what it does, and the word on the button.
QUESTIONS = {
    "end": (
        "End {title}?",
        "From this moment on nothing more of it is sold. Requests that are in line already are served.",
        "End the sale",
    ),
    "cancel": (
        "Call {title} off?",
        "Nobody else gets in, whoever waits in line is rejected, and who holds units may still buy them. It stays so.",
        "Call it off",
    ),
    "restart": (
        "Restart {title}?",
        "It ends if it is on, and a new sale of the same product opens at once, with fresh stock.",
        "Restart it",
    ),
    "archive": (
        "Take {title} out of sight?",
        "It disappears from the shop and from here, and is called off if it is not over. Its purchases stay.",
        "Take it out of sight",
    ),
}
COLUMNS = ("Sale", "Status", "Starts", "Ends", "Stock", "Sold", "Held", "Left", "")


@blueprint.get("")
@admin_required
def list_all() -> str:
    answer = ask(api.list_all, query=read_query(SaleListQuery, limit=ROWS))
    rows = [
        (
            link(f"/admin/sales/{sale['id']}", sale["title"]),
            sale["status"].capitalize(),
            when(sale["startTime"]),
            when(sale["endTime"]),
            *(str(sale[name]) for name in ("totalStock", "soldCount", "reservedCount", "remainingStock")),
            link(f"/admin/sales/{sale['id']}/desk", "Desk"),
        )
        for sale in answer.data
    ]
    table = Table("Sales", COLUMNS, rows, SEARCH, ("New sale", "/admin/sales/new"), numbered_pages(answer))
    return show_table(table)


@blueprint.route("/new", methods=["GET", "POST"])
@admin_required
def new() -> AnyResponse:
    form = DeskForm(NewSaleBody, NEW)
    form.values["productId"] = request.args.get("productId", "")
    if request.method == "POST" and (answer := send(form, api.create)):
        return go_to(f"/admin/sales/{made_id(answer)}")
    return show_form(form, "New sale", "Create")


@blueprint.route("/<id:sale_id>", methods=["GET", "POST"])
@admin_required
def one(sale_id: int) -> AnyResponse:
    path = SalePath(sale_id=sale_id)
    sale = ask(api.show, path=path).data
    form = DeskForm(SalePatchBody, COMMON, sale)
    if request.method == "POST" and send(form, api.patch, path=path):
        return go_to(f"/admin/sales/{sale_id}")
    return show_form(form, sale["title"], "Save", "desk/sale.html", sale=sale, buttons=_buttons(sale))


@blueprint.post("/<id:sale_id>/<any(pause,resume,end,cancel,wake,archive):action>")
@admin_required
def change(sale_id: int, action: str) -> AnyResponse:
    act(ACTIONS[action], path=SalePath(sale_id=sale_id))
    return go_to("/admin/sales" if action == "archive" else _back(sale_id))


@blueprint.post("/<id:sale_id>/restart")
@admin_required
def restart(sale_id: int) -> AnyResponse:
    answer = act(series_api.restart, path=SalePath(sale_id=sale_id))
    return redirect(f"/admin/sales/{made_id(answer)}/desk", 303)


@blueprint.post("/<id:sale_id>/restock")
@admin_required
def restock(sale_id: int) -> AnyResponse:
    """The total stock alone, as it stands on the live desk."""
    path = SalePath(sale_id=sale_id)
    sale = ask(api.show, path=path).data
    form = DeskForm(SalePatchBody, [each for each in COMMON if each.name == "totalStock"], sale)
    if send(form, api.patch, path=path):
        return go_to(_back(sale_id))
    return show_form(form, f"Restock: {sale['title']}", "Restock")


@blueprint.get("/<id:sale_id>/<any(end,cancel,restart,archive):action>")
@admin_required
def ask_first(sale_id: int, action: str) -> str:
    """Without scripts a page, with them a dialog of the page that leads here."""
    sale = ask(api.show, path=SalePath(sale_id=sale_id)).data
    title, words, button = QUESTIONS[action]
    is_in_place = request.args.get("from") == "desk" and action in IN_PLACE
    in_place = action if is_in_place else ""
    question = Question(title.format(title=sale["title"]), words, button, _back(sale_id), in_place=in_place)
    return show_question(question)


@blueprint.get("/<id:sale_id>/<any(pause,resume,wake,restock):action>")
@admin_required
def look_again(sale_id: int, action: str) -> AnyResponse:
    """Whoever loads the address of a button that was refused sees the sale."""
    return redirect(f"/admin/sales/{sale_id}", 303)


def _back(sale_id: int) -> str:
    """To the page of the sale that the button stood on."""
    return f"/admin/sales/{sale_id}" + ("/desk" if request.args.get("from") == "desk" else "")


def _buttons(sale: dict[str, Any]) -> list[Button]:
    """What can be done to a sale as it stands. The rules decide, whatever is shown here."""
    here = f"/admin/sales/{sale['id']}"
    is_over, is_running = sale["state"] in ("ended", "cancelled"), sale["state"] == "live"
    found = []
    if not is_over:
        found.append(Button("Pause", f"{here}/pause") if sale["isActive"] else Button("Resume", f"{here}/resume"))
        label, action = ("End", "end") if is_running else ("Cancel", "cancel")
        found.append(Button(label, f"{here}/{action}", asks=True))
    if sale["status"] != "UPCOMING":
        found += [Button("Restart", f"{here}/restart", asks=True), Button("Wake", f"{here}/wake")]
    return [*found, Button("Take out of sight", f"{here}/archive", asks=True)]
