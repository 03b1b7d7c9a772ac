"""Fraud records, for admins: what velocity noticed, and the last word on it."""

from typing import Any

import structlog
from flask.wrappers import Response

from models import fraud
from models.clock import to_iso
from models.fraud import FraudFilter, FraudRecord
from web.access import admin_required
from web.auth import current_user
from web.cursors import decode_cursor, encode_cursor
from web.envelope import ok
from web.openapi import api_blueprint, refusal
from web.schemas import Envelope
from web.schemas_abuse import FraudRecordPage, FraudRecordPath, FraudRecordsQuery, FraudRecordView, OverruleBody
from web.standing import standing_copy

log = structlog.get_logger()

blueprint = api_blueprint(
    "fraud",
    __name__,
    url_prefix="/api/fraud-records",
    tag="abuse",
    about="Who may not come in, and what looked odd; for admins",
)

CURSOR = "fraud-records"


def fraud_record_json(record: FraudRecord) -> dict[str, Any]:
    return {
        "id": str(record.id),
        "at": to_iso(record.at),
        "userId": str(record.user_id),
        "address": str(record.address) if record.address else None,
        "saleId": str(record.sale_id),
        "signal": record.signal,
        "subject": record.subject,
        "score": record.score,
        "action": record.action,
        "details": record.details,
        "overruledBy": str(record.overruled_by) if record.overruled_by else None,
        "overruledAt": to_iso(record.overruled_at) if record.overruled_at else None,
        "note": record.note,
    }


@blueprint.get("", responses={200: FraudRecordPage})
@admin_required
def list_all(query: FraudRecordsQuery) -> Response:
    """What was noticed, newest first: one record for each buyer, signal and sale in a window"""
    which = FraudFilter(query.signal, query.action, query.user_id, query.sale_id)
    before_id = decode_cursor(CURSOR, query.cursor, (int,))[0] if query.cursor is not None else None
    records = fraud.list_fraud_records(which, query.limit + 1, before_id)
    page = records[: query.limit]
    more = encode_cursor(CURSOR, page[-1].id) if len(records) > query.limit else None
    return ok(
        [fraud_record_json(record) for record in page],
        "Fraud records retrieved successfully",
        meta={"limit": query.limit, "nextCursor": more},
    )


@blueprint.post(
    "/<id:record_id>/overrule",
    responses={200: Envelope[FraudRecordView], 409: refusal("`ALREADY_OVERRULED`")},
)
@admin_required
def overrule(path: FraudRecordPath, body: OverruleBody) -> Response:
    """Let the record's subject pass its signal from now on, everywhere within a second"""
    record = fraud.overrule(path.record_id, actor_id=current_user().user_id, note=body.note)
    standing_copy().renew()
    return ok(fraud_record_json(record), "Fraud record overruled successfully")


@blueprint.delete(
    "/<id:record_id>/overrule",
    responses={200: Envelope[FraudRecordView], 409: refusal("`NOT_OVERRULED`")},
)
@admin_required
def withdraw(path: FraudRecordPath) -> Response:
    """Take an overruling back: the subject is counted again, unless another of its records was overruled too"""
    record = fraud.withdraw(path.record_id)
    standing_copy().renew()
    log.info("fraud.overruling_withdrawn", record=record.id, signal=record.signal, subject=record.subject)
    return ok(fraud_record_json(record), "Overruling withdrawn successfully")
