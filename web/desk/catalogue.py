"""Products at the desk."""

from flask import request
from werkzeug.wrappers import Response as AnyResponse

from web import categories as categories_api
from web import products as api
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
    price,
    send,
    show_form,
    show_question,
    show_table,
)
from web.schemas import LIMIT_MAX, PageQuery
from web.schemas_catalogue import ProductBody, ProductChanges, ProductPath, ProductsQuery

blueprint = desk_blueprint("catalogue")

SEARCH = (Input("searchTerm", "Name"),)
COLUMNS = ("Product", "Price", "Category", "Stock outside of sales", "A month's allotment", "")


def _inputs() -> list[Input]:
    categories = ask(categories_api.list_all, query=PageQuery(limit=LIMIT_MAX)).data
    return [
        Input("name", "Name", required=True),
        Input("description", "Description", "long"),
        Input("images", "Pictures", "lines", "One address on each line"),
        Input("price", "Price", "price", "Empty: priced at checkout"),
        Input("currency", "Currency", hint="ISO 4217, such as USD"),
        Input("stock", "Stock outside of sales", "number", "Shown, never counted down here"),
        Input("monthlyAllotment", "A month's allotment", "number", "Units that a month's runs draw from together"),
        Input("categoryId", "Category", "choice", choices=[(each["id"], each["name"]) for each in categories]),
    ]


@blueprint.get("/products")
@admin_required
def list_all() -> str:
    answer = ask(api.list_all, query=read_query(ProductsQuery, limit=ROWS))
    rows = [
        (
            link(f"/admin/products/{each['id']}", each["name"]),
            price(each["price"], each["currency"]),
            each["category"]["name"] if each["category"] else "",
            *("" if each[name] is None else str(each[name]) for name in ("stock", "monthlyAllotment")),
            link(f"/admin/sales/new?productId={each['id']}", "New sale"),
        )
        for each in answer.data
    ]
    table = Table("Products", COLUMNS, rows, SEARCH, ("New product", "/admin/products/new"), numbered_pages(answer))
    return show_table(table)


@blueprint.route("/products/new", methods=["GET", "POST"])
@admin_required
def new() -> AnyResponse:
    form = DeskForm(ProductBody, _inputs())
    if request.method == "POST" and (answer := send(form, api.create)):
        return go_to(f"/admin/products/{made_id(answer)}")
    return show_form(form, "New product", "Create")


@blueprint.route("/products/<id:product_id>", methods=["GET", "POST"])
@admin_required
def one(product_id: int) -> AnyResponse:
    path = ProductPath(product_id=product_id)
    product = ask(api.show, path=path).data
    form = DeskForm(ProductChanges, _inputs(), product)
    if request.method == "POST" and send(form, api.update, path=path):
        return go_to(f"/admin/products/{product_id}")
    buttons = [Button("Delete", f"/admin/products/{product_id}/delete", asks=True)]
    return show_form(form, product["name"], "Save", buttons=buttons)


@blueprint.get("/products/<id:product_id>/delete")
@admin_required
def ask_to_delete(product_id: int) -> str:
    product = ask(api.show, path=ProductPath(product_id=product_id)).data
    words = "It disappears from the shop. If it was ever in a sale, its name is kept for the history."
    return show_question(
        Question(f"Delete {product['name']}?", words, "Delete it", back=f"/admin/products/{product_id}")
    )


@blueprint.post("/products/<id:product_id>/delete")
@admin_required
def delete(product_id: int) -> AnyResponse:
    act(api.delete, path=ProductPath(product_id=product_id))
    return go_to("/admin/products")
