"""Outcomes on their way into their table: those of a whole batch in one message to PostgreSQL.

Not by COPY. While PostgreSQL takes a COPY's rows no timeout of its own ends the statement (it looks only whether the
session was terminated), so that a worker which stalls between two rows would hold its sale for as long as it sleeps.
Parameters have messages of their own too; a statement with its values inside is one, and until the whole of it is there
the session is idle in its transaction, which PostgreSQL bounds.
"""

from collections.abc import Iterable, Sequence

import orjson
import psycopg
from sqlalchemy.orm import Session

from models.clock import EPOCH, from_ms
from models.decide import Outcome
from models.record import PurchaseRecord

# What differs from row to row; JSON costs the worker half of what COPY's text does.
INSERT = """
    INSERT INTO purchases (sale_id, ticket, user_id, kind, quantity, status, reason, unit_price, total_amount, currency,
                           nonce, idempotency_key, duplicate_of, original_ticket, admitted_at, settled_at, expires_at,
                           revision)
    SELECT %(sale_id)s, ticket, user_id, kind, quantity, status, reason, %(unit_price)s, total_amount, %(currency)s,
           nonce, key, duplicate_of, original_ticket, admitted_at, %(settled_at)s, expires_at, %(revision)s
    FROM json_to_recordset(%(rows)s) AS outcomes (
      ticket bigint, user_id bigint, kind text, quantity bigint, status text, reason text, total_amount numeric,
      nonce text, key text, duplicate_of bigint, original_ticket bigint, admitted_at timestamptz, expires_at timestamptz
    )
"""


def write_outcomes(
    session: Session, records: Sequence[PurchaseRecord], outcomes: Iterable[Outcome], settled_ms: int
) -> None:
    """Insert a batch's purchases, of one sale and one moment. The caller holds the sale's row lock."""
    first = records[0]
    rows = [_row(record, outcome) for record, outcome in zip(records, outcomes, strict=True)]
    values = {
        "sale_id": first.sale_id,
        "unit_price": first.unit_price,
        "currency": first.currency,
        "settled_at": from_ms(settled_ms),
        "revision": first.revision,
        "rows": orjson.dumps(rows).decode(),
    }
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)  # noqa: S101 - a session in a transaction has one
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(INSERT, values)


def _row(record: PurchaseRecord, outcome: Outcome) -> dict[str, object]:
    return {
        "ticket": record.ticket,
        "user_id": record.user_id,
        "kind": record.kind,
        "quantity": record.quantity,
        "status": record.status,
        "reason": record.reason,
        "total_amount": None if record.total_amount is None else str(record.total_amount),
        "nonce": outcome.request.nonce,
        # A duplicate leaves its key with the first, so that the key stays unique.
        "key": None if record.duplicate_of else outcome.request.idempotency_key,
        "duplicate_of": record.duplicate_of,
        "original_ticket": record.original_ticket,
        "admitted_at": from_ms(record.admitted_ms) if record.admitted_ms else EPOCH,
        "expires_at": from_ms(record.expires_ms) if record.expires_ms else None,
    }
