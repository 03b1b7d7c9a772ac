"""What the desk's pages are made of: tables with their pages and searches, forms, and buttons that do one thing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request
from markupsafe import Markup
from pydantic import BaseModel
from werkzeug.wrappers import Response as AnyResponse

from models.errors import DomainError, NotFoundError
from web.desk.acting import DONE, Answer, ApiView, act
from web.desk.forms import DeskForm, Input
from web.pages.hooks import moment, money

Cell = str | Markup


def desk_blueprint(name: str, path: str = "") -> Blueprint:
    """A blueprint of the desk; every route of it is @admin_required, and a test holds that."""
    return Blueprint(f"desk_{name}", __name__, url_prefix=f"/admin{path}")


@dataclass(frozen=True, slots=True)
class Button:
    """A form of one button, sent to `action`; one that `asks` first leads to the question at the same address."""

    label: str
    action: str
    is_second: bool = True
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before something is done that cannot be taken back: in a page of its own, or in a dialog."""

    title: str
    words: str
    button: str
    back: str
    # What is sent along with the answer.
    fields: Mapping[str, str] = field(default_factory=dict)
    # The action of a live desk, whose script does it without leaving the page.
    in_place: str = ""


@dataclass(slots=True)
class Table:
    """A page of a list: what to search by, the rows, and where the list goes on."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    search: Sequence[Input] = ()
    new: tuple[str, str] | None = None
    pages: Sequence[tuple[str, str]] = ()
    about: Cell = ""
    values: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = {each.name: request.args.get(each.name, "") for each in self.search}


def show_table(table: Table) -> str:
    return render_template("desk/list.html", table=table)


def numbered_pages(answer: Answer) -> list[tuple[str, str]]:
    """(label, address) of the neighbours of a page that the API numbered."""
    page, limit, total = (int(answer.meta[name]) for name in ("page", "limit", "total"))
    links = [("Previous", here_with(page=page - 1))] if page > 1 else []
    return [*links, ("Next", here_with(page=page + 1))] if page * limit < total else links


def next_page(cursor: str | None) -> list[tuple[str, str]]:
    """(label, address) of the page after a cursor."""
    return [("Older", here_with(cursor=cursor))] if cursor else []


def here_with(**changed: Any) -> str:
    """This address with these values in its query."""
    asked = {name: value for name, value in request.args.items() if name != DONE}
    return f"{request.path}?{urlencode({**asked, **changed})}"


def send(form: DeskForm[Any], view: ApiView, **path: BaseModel) -> Answer | None:
    """What was typed, sent to a view of the API; None where it was refused, and the form then says why.

    Raises NotFoundError for what is not there at all.
    """
    body = form.read()
    if body is None:
        return None
    try:
        return act(view, body=body, **path)
    except NotFoundError as error:
        if path and not error.fields:
            raise
        form.refuse(error)
    except DomainError as error:
        form.refuse(error)
    return None


def show_form(form: DeskForm[Any], title: str, button: str, template: str = "desk/form.html", **more: Any) -> Response:
    """A form's page, with the status of what became of it."""
    text = render_template(template, form=form, title=title, button=button, **more)
    return Response(text, form.status, mimetype="text/html")


def show_question(question: Question) -> str:
    """The page that asks; the answer is a POST to the address that it stands at."""
    return render_template("desk/question.html", question=question)


def go_to(path: str) -> AnyResponse:
    """To a page that says that it was done."""
    return redirect(f"{path}?{DONE}=1", 303)


def link(address: str, text: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(address, text)


def when(iso: str | None) -> Cell:
    """A time of the API for people, or nothing."""
    return moment(datetime.fromisoformat(iso), precise=True) if iso else ""


def price(amount: float | None, currency: str | None) -> Cell:
    return "" if amount is None or currency is None else money(Decimal(f"{amount:.2f}"), currency)
