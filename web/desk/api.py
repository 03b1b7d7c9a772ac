"""What the desk's pages ask for themselves, as part of the API: a sale at this moment, and the operators' log."""

from typing import Any

from flask.wrappers import Response
from pydantic import Field

from models import operator_log
from models.clock import from_ms, to_iso
from models.desk import Desk, read_desk
from models.operator_log import LogFilter, LoggedAction
from web.access import admin_required
from web.audits import audit_of
from web.cursors import decode_cursor, encode_cursor
from web.envelope import ok
from web.fields import Id
from web.openapi import api_blueprint, refusal
from web.sale_json import time_status
from web.schemas import Envelope, Query, View
from web.schemas_purchases import CursorMeta, SalePath

blueprint = api_blueprint("desk", __name__, url_prefix="/api", tag="desk", about="For whoever runs a sale")

CURSOR = "operator-log"


class LineView(View):
    accepted: int = Field(description="requests that were ever given a ticket")
    settled: int
    waiting: int
    oldest_wait_ms: int


class TimesView(View):
    requests: int
    p50_ms: float | None
    p99_ms: float | None


class StockView(View):
    total: int
    sold: int
    reserved: int
    remaining: int


class WorkerView(View):
    name: str
    queues: list[str]
    last_heartbeat: str
    silent_seconds: float


class VerdictView(View):
    agrees: bool
    disagreeing: list[str]


class DeskView(View):
    """A sale at this moment. Totals, not rates: the difference of two answers by their `serverTime` is the rate."""

    sale_id: str
    title: str
    status: str
    state: str
    end_reason: str | None
    is_active: bool
    start_time: str
    end_time: str | None
    seq: int
    stock: StockView
    line: LineView
    refused: dict[str, int] = Field(description="refusals before the line by code, as far as Redis remembers")
    outcome_times: TimesView = Field(description="of the newest 2000 tickets settled within the last minute")
    workers: list[WorkerView]
    has_beat: bool
    audit: VerdictView
    server_time: str


class OperatorLogQuery(Query):
    actor_id: Id | None = None
    subject: str | None = Field(default=None, max_length=100, description="such as `sale:7`")
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=300)


class OperatorEntryView(View):
    """Who did what. `action` is the operation of the API, by whichever door: `sales.pause`."""

    id: str
    at: str
    actor_id: str
    actor: str | None
    action: str
    subject: str | None
    details: dict[str, Any]
    request_id: str


class OperatorLogPage(View):
    success: bool
    message: str
    data: list[OperatorEntryView]
    meta: CursorMeta


@blueprint.get("/flash-sales/<id:sale_id>/desk", responses={200: Envelope[DeskView], 404: refusal("`SALE_NOT_FOUND`")})
@admin_required
def show_desk(path: SalePath) -> Response:
    """A sale at this moment, for the operator who watches it

    Made to be asked once a second: it costs the same whatever the sale has sold. The audit may be as old as twenty
    times what it took to count.
    """
    return ok(desk_json(read_desk(path.sale_id)), "The desk of this sale")


@blueprint.get("/operator-log", responses={200: OperatorLogPage})
@admin_required
def show_log(query: OperatorLogQuery) -> Response:
    """What admins changed, newest first; passwords and tokens are never kept"""
    before_id = decode_cursor(CURSOR, query.cursor, (int,))[0] if query.cursor is not None else None
    which = LogFilter(query.actor_id, query.subject)
    found = operator_log.list_actions(which, query.limit + 1, before_id)
    page = found[: query.limit]
    more = encode_cursor(CURSOR, page[-1].entry.id) if len(found) > query.limit else None
    return ok(
        [_entry_json(each) for each in page],
        "The operators' log",
        meta={"limit": query.limit, "nextCursor": more},
    )


def desk_json(desk: Desk) -> dict[str, Any]:
    sale, moment = desk.sale, from_ms(desk.at_ms)
    audit = audit_of(sale.id, fresh=False)
    return {
        "saleId": str(sale.id),
        "title": sale.title,
        "status": time_status(sale, moment),
        "state": sale.state,
        "endReason": sale.end_reason,
        "isActive": not sale.paused and sale.state != "cancelled",
        "startTime": to_iso(sale.starts_at),
        "endTime": to_iso(sale.ends_at) if sale.ends_at else None,
        "seq": sale.revision,
        "stock": {
            "total": sale.total_stock,
            "sold": sale.sold,
            "reserved": sale.reserved,
            "remaining": sale.remaining,
        },
        "line": {
            "accepted": desk.line.accepted,
            "settled": sale.settled_through,
            "waiting": desk.line.waiting,
            "oldestWaitMs": desk.line.oldest_wait_ms,
        },
        "refused": desk.refused,
        "outcomeTimes": {
            "requests": desk.times.requests,
            "p50Ms": desk.times.p50_ms,
            "p99Ms": desk.times.p99_ms,
        },
        "workers": [
            {
                "name": worker.name,
                "queues": list(worker.queues),
                "lastHeartbeat": to_iso(from_ms(worker.seen_ms)),
                "silentSeconds": round(max(0, desk.at_ms - worker.seen_ms) / 1000, 1),
            }
            for worker in desk.workers
        ],
        "hasBeat": desk.has_beat,
        "audit": {
            "agrees": audit.agrees,
            "disagreeing": [check.name for check in audit.checks if not check.agrees],
        },
        "serverTime": to_iso(moment),
    }


def _entry_json(logged: LoggedAction) -> dict[str, Any]:
    entry = logged.entry
    return {
        "id": str(entry.id),
        "at": to_iso(entry.at),
        "actorId": str(entry.actor_id),
        "actor": logged.actor,
        "action": entry.action,
        "subject": entry.subject,
        "details": entry.details,
        "requestId": entry.request_id,
    }
