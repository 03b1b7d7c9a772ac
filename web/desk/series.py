"""Series at the desk: recurring sales, their next runs, and what became of the past ones."""

from typing import Any

from flask import request
from werkzeug.wrappers import Response as AnyResponse

from web import series as api
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
from web.schemas_series import SeriesBody, SeriesChanges, SeriesPath, SeriesQuery

blueprint = desk_blueprint("series", "/series")

COMMON = (
    Input("title", "Title", required=True),
    Input("description", "Description", "long"),
    Input("rule", "Rule", hint="RFC 5545, such as FREQ=MONTHLY;BYDAY=1FR", required=True),
    Input("startsLocal", "First occurrence", "local", "On the clock of the zone", required=True),
    Input("zone", "Zone", hint="IANA, such as Europe/Berlin", required=True),
    Input("stockPerRun", "Stock of a run", "number"),
    Input("flashPrice", "Flash price", "price", "Empty: the product's own"),
    Input("maxPerPurchase", "Most for one purchase", "number"),
    Input("maxPerUser", "Most for one buyer", "number"),
    Input("maxPerUserMonth", "Most for one buyer in a month", "number"),
    Input("holdSeconds", "A hold lasts (seconds)", "number"),
    Input("durationSeconds", "A run lasts (seconds)", "number", "Empty: until it is sold out"),
    Input("runsPerMonth", "Runs in a month", "number"),
)
NEW = (COMMON[0], Input("productId", "Product (its id)", required=True), *COMMON[1:])
ACTIONS: dict[str, Any] = {"pause": api.pause, "resume": api.resume, "end": api.end}
RUNS_SHOWN = 20


@blueprint.get("")
@admin_required
def list_all() -> str:
    answer = ask(api.list_all, query=read_query(SeriesQuery, limit=ROWS))
    rows = [
        (
            link(f"/admin/series/{each['id']}", each["title"]),
            each["status"].capitalize(),
            each["rule"],
            each["zone"],
            when(each["nextRuns"][0]) if each["nextRuns"] else "",
            str(each["stockPerRun"]),
        )
        for each in answer.data
    ]
    columns = ("Series", "Status", "Rule", "Zone", "Next run", "Stock of a run")
    search = (Input("productId", "Product (its id)"),)
    return show_table(
        Table("Series", columns, rows, search, ("New series", "/admin/series/new"), numbered_pages(answer))
    )


@blueprint.route("/new", methods=["GET", "POST"])
@admin_required
def new() -> AnyResponse:
    form = DeskForm(SeriesBody, NEW)
    if request.method == "POST" and (answer := send(form, api.create)):
        return go_to(f"/admin/series/{made_id(answer)}")
    return show_form(form, "New series", "Create")


@blueprint.route("/<id:series_id>", methods=["GET", "POST"])
@admin_required
def one(series_id: int) -> AnyResponse:
    path = SeriesPath(series_id=series_id)
    series = ask(api.show, path=path).data
    form = DeskForm(SeriesChanges, COMMON, series)
    if request.method == "POST" and send(form, api.update, path=path):
        return go_to(f"/admin/series/{series_id}")
    runs = ask(api.list_runs, path=path, query=PageQuery(limit=RUNS_SHOWN)).data
    rows = [(when(run["runAt"]), run["outcome"], run["reason"] or "", _sale_of(run), str(run["stock"])) for run in runs]
    return show_form(
        form, series["title"], "Save", "desk/series.html", series=series, runs=rows, buttons=_buttons(series)
    )


@blueprint.get("/<id:series_id>/end")
@admin_required
def ask_to_end(series_id: int) -> str:
    series = ask(api.show, path=SeriesPath(series_id=series_id)).data
    words = "No further run of it is made, for good. Its sales stay, and one that is on goes on."
    return show_question(
        Question(f"End {series['title']}?", words, "End the series", back=f"/admin/series/{series_id}")
    )


@blueprint.post("/<id:series_id>/<any(pause,resume,end):action>")
@admin_required
def change(series_id: int, action: str) -> AnyResponse:
    act(ACTIONS[action], path=SeriesPath(series_id=series_id))
    return go_to(f"/admin/series/{series_id}")


def _sale_of(run: dict[str, Any]) -> Any:
    return link(f"/admin/sales/{run['flashSaleId']}", f"Sale {run['flashSaleId']}") if run["flashSaleId"] else ""


def _buttons(series: dict[str, Any]) -> list[Button]:
    here = f"/admin/series/{series['id']}"
    if series["status"] == "ENDED":
        return []
    paused = series["status"] == "PAUSED"
    first = Button("Resume", f"{here}/resume") if paused else Button("Pause", f"{here}/pause")
    return [first, Button("End", f"{here}/end", asks=True)]
