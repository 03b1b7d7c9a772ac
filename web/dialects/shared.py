"""What the dialects have in common: times to the second, and the outcome of a purchase in their own shape."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask.wrappers import Response

from models.clock import from_ms, now
from models.purchase import Status, purchase_id
from models.record import PurchaseRecord
from web.json import json_response
from web.purchases import answer


def seconds_iso(moment: datetime) -> str:
    """ISO 8601 in UTC to the second, as these documents write their times."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def admitted_iso(record: PurchaseRecord) -> str:
    """When a purchase was admitted. What still waits was so a moment ago."""
    return seconds_iso(from_ms(record.admitted_ms) if record.admitted_ms is not None else now())


def bare_answer(record: PurchaseRecord, shape: Callable[[PurchaseRecord], dict[str, Any]]) -> Response:
    """201 with a purchase in a dialect's shape, the refusal that it came to, or 202 while it waits."""
    if record.status == Status.REJECTED:
        return answer(record)
    response = json_response(shape(record), 201 if record.is_settled else 202)
    response.headers["Location"] = f"/api/purchases/{purchase_id(record.sale_id, record.ticket)}"
    if not record.is_settled:
        response.headers["Retry-After"] = "1"
    return response
