"""A purchase as clients see it, over HTTP and WebSocket alike."""

from typing import Any

from models.clock import from_ms, to_iso
from models.purchase import purchase_id
from models.record import PurchaseRecord


def purchase_json(record: PurchaseRecord) -> dict[str, Any]:
    """Money is a JSON number in `currency`; times are ISO 8601 in UTC; `position` is there while it is queued."""
    return {
        "purchaseId": purchase_id(record.sale_id, record.ticket),
        "saleId": str(record.sale_id),
        "userId": str(record.user_id),
        "ticket": record.ticket,
        "position": record.position,
        "estimateSeconds": record.estimate_seconds,
        "kind": record.kind,
        "quantity": record.quantity,
        "status": record.status,
        "reason": record.reason,
        "unitPrice": record.unit_price,
        "totalAmount": record.total_amount,
        "currency": record.currency,
        "admittedAt": _iso(record.admitted_ms),
        "settledAt": _iso(record.settled_ms),
        "expiresAt": _iso(record.expires_ms),
        "closedAt": _iso(record.closed_ms),
    }


def _iso(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else to_iso(from_ms(milliseconds))
