"""The desk's front page, and the log of what its users did."""

from typing import Any

import orjson
from flask import Flask, render_template

from models.settings import settings
from web import sales as sales_api
from web.access import admin_required
from web.desk import api
from web.desk.acting import ROWS, ask, read_query
from web.desk.forms import Input
from web.desk.pages import Table, desk_blueprint, link, next_page, show_table, when
from web.pages.live import host_name
from web.schemas_sales import SaleListQuery

blueprint = desk_blueprint("home")

SECTIONS = (
    ("/admin", "Now"),
    ("/admin/sales", "Sales"),
    ("/admin/products", "Products"),
    ("/admin/categories", "Categories"),
    ("/admin/series", "Series"),
    ("/admin/users", "Users"),
    ("/admin/purchases", "Purchases"),
    ("/admin/movements", "Movements"),
    ("/admin/ip-rules", "IP rules"),
    ("/admin/fraud-records", "Fraud records"),
    ("/admin/log", "Log"),
)
SHOWN_MAX = 20
LOG_SEARCH = (Input("subject", "What (such as sale:7)"), Input("actorId", "Who (their id)"))
# Where the log's subjects have a page of their own.
PAGES = {
    "sale": "sales",
    "user": "users",
    "product": "products",
    "category": "categories",
    "series": "series",
    "ip_rule": "ip-rules",
    "purchase": "purchases",
}


def init_desk(app: Flask) -> None:
    """What every page of the desk shows."""
    app.context_processor(lambda: {"desk_sections": SECTIONS, "flower_url": flower_url()})


def flower_url() -> str:
    """Where Flower is: by the settings, or on this host at its port, where it speaks no TLS."""
    return settings().flower_url or f"http://{host_name()}:{settings().flower_port}"


@blueprint.get("")
@admin_required
def now() -> str:
    """What is on sale, held back, next, and just over: each with its desk."""

    def some(status: str, order: str) -> Any:
        query = SaleListQuery.model_validate(
            {"status": status, "limit": SHOWN_MAX, "sortBy": "startTime", "sortOrder": order}
        )
        return ask(sales_api.list_all, query=query).data

    return render_template(
        "desk/home.html",
        live=some("LIVE", "desc"),
        paused=some("PAUSED", "desc"),
        upcoming=some("UPCOMING", "asc"),
        ended=some("ENDED", "desc"),
    )


@blueprint.get("/log")
@admin_required
def log() -> str:
    answer = ask(api.show_log, query=read_query(api.OperatorLogQuery, limit=ROWS))
    rows = [
        (
            when(entry["at"]),
            entry["actor"] or f"user {entry['actorId']}",
            entry["action"],
            _subject(entry["subject"]),
            orjson.dumps(entry["details"].get("given", {})).decode(),
            entry["requestId"],
        )
        for entry in answer.data
    ]
    columns = ("When", "Who", "Did", "To", "With", "Request")
    pages = next_page(answer.meta["nextCursor"])
    return show_table(Table("Log", columns, rows, LOG_SEARCH, pages=pages, about="Who did what, by either door."))


def _subject(subject: str | None) -> Any:
    noun, _, thing = (subject or "").partition(":")
    return link(f"/admin/{PAGES[noun]}/{thing}", subject or "") if noun in PAGES else subject or ""
