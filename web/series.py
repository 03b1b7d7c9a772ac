"""Series: sales that come again by a rule. Read by anybody; made, changed and looked into by admins."""

from datetime import datetime
from typing import Any

from flask.wrappers import Response

from models import series_rules
from models.clock import to_iso
from models.errors import FieldError, InvalidError
from models.months import month_start, next_month, zone_of
from models.restarts import restart_sale
from models.sale_queries import get_sale
from models.series import Series, SeriesReset, SeriesRun
from models.series_rules import NewSeries, clock
from web.access import admin_required, public
from web.auth import current_user
from web.envelope import ok
from web.openapi import api_blueprint, refusal
from web.sale_json import sale_json
from web.schemas import Envelope, PageEnvelope, PageQuery
from web.schemas_purchases import SalePath
from web.schemas_sales import SaleView
from web.schemas_series import (
    NULLABLE,
    ResetView,
    RunView,
    SeriesBody,
    SeriesChanges,
    SeriesPath,
    SeriesQuery,
    SeriesView,
)

blueprint = api_blueprint("series", __name__, url_prefix="/api", tag="series", about="Sales that come again by a rule")

ONE: Any = {200: Envelope[SeriesView], 404: refusal("`SERIES_NOT_FOUND`")}
CHANGED: Any = {**ONE, 409: refusal("`SERIES_ENDED`")}
NEXT_RUNS = 5


@blueprint.get("/series", responses={200: PageEnvelope[SeriesView]})
@public
def list_all(query: SeriesQuery) -> Response:
    """All series, newest first, those that have ended too"""
    found, total = series_rules.list_series(query.page, query.limit, query.product_id)
    now = clock()
    return ok([_series_json(each, now) for each in found], "Series retrieved successfully", meta=query.meta(total))


@blueprint.get("/series/<id:series_id>", responses=ONE)
@public
def show(path: SeriesPath) -> Response:
    """One series, with its next occurrences and what this month has come to"""
    return _one(path.series_id, "Series retrieved successfully")


@blueprint.post("/series", responses={201: Envelope[SeriesView], 404: refusal("`PRODUCT_NOT_FOUND`")})
@admin_required
def create(body: SeriesBody) -> Response:
    """Make a series

    Its next occurrence is scheduled at once as a sale of its own. One that lies in the past is not made up for.
    """
    series_id = series_rules.create_series(NewSeries(**body.model_dump()), now=clock())
    location = {"Location": f"/api/series/{series_id}"}
    return _one(series_id, "Series created successfully", status=201, headers=location)


@blueprint.patch("/series/<id:series_id>", responses=CHANGED)
@admin_required
def update(path: SeriesPath, body: SeriesChanges) -> Response:
    """Change a series

    What has started stays as it is. The run that is scheduled next is taken back and made again by the new terms.
    """
    changes = body.given()
    nulls = [name for name, value in changes.items() if value is None and name not in NULLABLE]
    if nulls:
        aliases = SeriesChanges.model_fields
        raise InvalidError(fields=[FieldError(aliases[name].alias or name, "must not be null") for name in nulls])
    if changes:
        series_rules.patch_series(path.series_id, changes, now=clock())
    return _one(path.series_id, "Series updated successfully")


@blueprint.post("/series/<id:series_id>/pause", responses=CHANGED)
@admin_required
def pause(path: SeriesPath) -> Response:
    """Hold the next runs back; one that is on goes on"""
    series_rules.pause_series(path.series_id, now=clock())
    return _one(path.series_id, "Series paused")


@blueprint.post("/series/<id:series_id>/resume", responses=CHANGED)
@admin_required
def resume(path: SeriesPath) -> Response:
    """Let a series go on; a run whose time is not over starts at once"""
    series_rules.resume_series(path.series_id, now=clock())
    return _one(path.series_id, "Series resumed")


@blueprint.delete("/series/<id:series_id>", responses=CHANGED)
@admin_required
def end(path: SeriesPath) -> Response:
    """End a series for good; its sales stay, and one that is on goes on"""
    series_rules.end_series(path.series_id, now=clock())
    return _one(path.series_id, "Series ended")


@blueprint.get(
    "/series/<id:series_id>/runs", responses={200: PageEnvelope[RunView], 404: refusal("`SERIES_NOT_FOUND`")}
)
@admin_required
def list_runs(path: SeriesPath, query: PageQuery) -> Response:
    """What became of each occurrence, latest first

    `made` has a sale. `skipped` says why it has none: `ACTIVE_SALE`, `ALLOTMENT_EXHAUSTED`, `RUNS_EXHAUSTED`,
    `PRICE_NOT_BELOW`, `PRODUCT_ARCHIVED`. `withdrawn` was made and taken back before it started.
    """
    found, total = series_rules.list_runs(path.series_id, query.page, query.limit)
    return ok([_run_json(run) for run in found], "Runs retrieved successfully", meta=query.meta(total))


@blueprint.get(
    "/series/<id:series_id>/resets", responses={200: PageEnvelope[ResetView], 404: refusal("`SERIES_NOT_FOUND`")}
)
@admin_required
def list_resets(path: SeriesPath, query: PageQuery) -> Response:
    """The months that began, latest first, each with what the month before had come to"""
    found, total = series_rules.list_resets(path.series_id, query.page, query.limit)
    return ok([_reset_json(reset) for reset in found], "Resets retrieved successfully", meta=query.meta(total))


@blueprint.post(
    "/flash-sales/<id:sale_id>/restart",
    responses={
        201: Envelope[SaleView],
        404: refusal("`SALE_NOT_FOUND`, `PRODUCT_NOT_FOUND`"),
        409: refusal("`NOT_STARTED`, `ALLOTMENT_EXHAUSTED`, `RUNS_EXHAUSTED`"),
    },
)
@admin_required
def restart(path: SalePath) -> Response:
    """Make the next run of a sale's product with fresh stock, live at once

    The sale ends if it is live; who was admitted before this moment is served from its stock. 400
    `ACTIVE_SALE_EXISTS` where the product is in another sale by now, such as one that a restart has made already.
    """
    sale_id = restart_sale(path.sale_id, actor_id=current_user().user_id)
    location = {"Location": f"/api/flash-sales/{sale_id}"}
    return ok(sale_json(get_sale(sale_id)), "Flash sale restarted", status=201, headers=location)


def _one(series_id: int, message: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    shown = _series_json(series_rules.get_series(series_id), clock())
    return ok(shown, message, status=status, headers=headers)


def _series_json(series: Series, now: datetime) -> dict[str, Any]:
    return {
        "id": str(series.id),
        "productId": str(series.product_id),
        "title": series.title,
        "description": series.description,
        "rule": series.rule,
        "startsLocal": series.starts_local.isoformat(),
        "zone": series.zone,
        "stockPerRun": series.stock_per_run,
        "flashPrice": series.flash_price,
        "maxPerPurchase": series.max_per_purchase,
        "maxPerUser": series.max_per_user,
        "holdSeconds": series.hold_seconds,
        "durationSeconds": series.duration_seconds,
        "runsPerMonth": series.runs_per_month,
        "maxPerUserMonth": series.max_per_user_month,
        "status": "ENDED" if series.ended_at else "PAUSED" if series.paused else "ACTIVE",
        "endedAt": to_iso(series.ended_at) if series.ended_at else None,
        "nextRuns": [to_iso(run_at) for run_at in series_rules.next_runs(series, now, NEXT_RUNS)],
        "thisMonth": _month_json(series, now),
        "createdAt": to_iso(series.created_at),
        "updatedAt": to_iso(series.updated_at),
        "serverTime": to_iso(now),
    }


def _month_json(series: Series, now: datetime) -> dict[str, Any]:
    so_far, zone = series_rules.month_so_far(series, now), zone_of(series.zone)
    return {
        "month": so_far.month.isoformat(),
        "startsAt": to_iso(month_start(so_far.month, zone)),
        "endsAt": to_iso(month_start(next_month(so_far.month), zone)),
        "runs": so_far.runs,
        "runsPerMonth": series.runs_per_month,
        "drawn": so_far.drawn,
    }


def _run_json(run: SeriesRun) -> dict[str, Any]:
    return {
        "runAt": to_iso(run.run_at),
        "month": run.month.isoformat(),
        "outcome": run.outcome,
        "reason": run.reason,
        "flashSaleId": str(run.sale_id) if run.sale_id else None,
        "stock": run.stock,
        "byHand": run.by_hand,
        "decidedAt": to_iso(run.decided_at),
    }


def _reset_json(reset: SeriesReset) -> dict[str, Any]:
    return {
        "month": reset.month.isoformat(),
        "at": to_iso(reset.at),
        "noticedAt": to_iso(reset.noticed_at),
        "runsBefore": reset.runs_before,
        "drawnBefore": reset.drawn_before,
        "buyersBefore": reset.buyers_before,
        "unitsBefore": reset.units_before,
    }
