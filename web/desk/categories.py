"""Categories at the desk: made, renamed, and deleted once nothing stands in them."""

from flask import request
from werkzeug.wrappers import Response as AnyResponse

from web import categories as api
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
from web.schemas import PageQuery
from web.schemas_catalogue import CategoryBody, CategoryPath

blueprint = desk_blueprint("categories", "/categories")

NAME = (Input("name", "Name", hint="Its address stays as it was first called", required=True),)


@blueprint.get("")
@admin_required
def list_all() -> str:
    answer = ask(api.list_all, query=read_query(PageQuery, limit=ROWS))
    rows = [
        (link(f"/admin/categories/{each['id']}", each["name"]), each["slug"], when(each["createdAt"]))
        for each in answer.data
    ]
    new = ("New category", "/admin/categories/new")
    return show_table(Table("Categories", ("Name", "Address", "Since"), rows, new=new, pages=numbered_pages(answer)))


@blueprint.route("/new", methods=["GET", "POST"])
@admin_required
def new() -> AnyResponse:
    form = DeskForm(CategoryBody, [Input("name", "Name", required=True)])
    if request.method == "POST" and (answer := send(form, api.create)):
        return go_to(f"/admin/categories/{made_id(answer)}")
    return show_form(form, "New category", "Create")


@blueprint.route("/<id:category_id>", methods=["GET", "POST"])
@admin_required
def one(category_id: int) -> AnyResponse:
    path = CategoryPath(category_id=category_id)
    category = ask(api.show, path=path).data
    form = DeskForm(CategoryBody, NAME)
    form.values["name"] = category["name"]
    if request.method == "POST" and send(form, api.rename, path=path):
        return go_to(f"/admin/categories/{category_id}")
    buttons = [Button("Delete", f"/admin/categories/{category_id}/delete", asks=True)]
    return show_form(form, category["name"], "Rename", buttons=buttons)


@blueprint.get("/<id:category_id>/delete")
@admin_required
def ask_to_delete(category_id: int) -> str:
    category = ask(api.show, path=CategoryPath(category_id=category_id)).data
    words = "Only a category that no product stands in can be deleted, archived products among them."
    back = f"/admin/categories/{category_id}"
    return show_question(Question(f"Delete {category['name']}?", words, "Delete it", back))


@blueprint.post("/<id:category_id>/delete")
@admin_required
def delete(category_id: int) -> AnyResponse:
    act(api.delete, path=CategoryPath(category_id=category_id))
    return go_to("/admin/categories")
