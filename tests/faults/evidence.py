"""What the oracle judges by: what the shop says of every accepted request, asked once more, and what PostgreSQL has."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ops.rush.shop import TroubleError
from tests.faults.crowd import Crowd
from tests.faults.ledger import Ask, Ledger
from tests.faults.oracle import Row, SaleRow
from tests.faults.stack import POLL_SECONDS, Stack

AUDIT_SECONDS_MAX = 60.0

ROWS = """
    SELECT sale_id, ticket, user_id, kind, quantity, status, reason, idempotency_key AS key, duplicate_of,
           original_ticket, admitted_at, settled_at
    FROM purchases WHERE sale_id = ANY(%s)
"""
SALES = """
    SELECT id AS sale_id, total_stock, sold, reserved, settled_through, ends_at IS NOT NULL AS has_end
    FROM flash_sales WHERE id = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sales and their purchases, as PostgreSQL has them."""

    sales: list[SaleRow]
    rows: list[Row]


async def gather(stack: Stack, crowd: Crowd, ledger: Ledger, sale_ids: Sequence[int]) -> Evidence:
    """Ask for every accepted request once more, over HTTP, which the ledger hears, and read what PostgreSQL has."""
    for ask in ledger.accepted:
        for ticket in ask.tickets:
            await _look_again(crowd, ask, ticket)
    audits = {sale_id: await _audit(crowd, sale_id) for sale_id in sale_ids}
    return await asyncio.to_thread(_read, stack, sale_ids, audits)


async def _look_again(crowd: Crowd, ask: Ask, ticket: int) -> None:
    for _ in range(20):
        answer = await crowd.look(ask, ticket)
        if answer is not None and answer.is_good:
            ask.hear(time.monotonic(), ticket, str(answer.data["status"]), "look")
            return
        if answer is not None and answer.status == 404:
            return
        await asyncio.sleep(POLL_SECONDS)


async def _audit(crowd: Crowd, sale_id: int) -> bool | None:
    end = time.monotonic() + AUDIT_SECONDS_MAX
    while time.monotonic() < end:
        with suppress(TroubleError):
            answer = await crowd.ask_anybody("GET", f"/api/flash-sales/{sale_id}/audit")
            if answer.is_good:
                return bool(answer.data["agrees"])
        await asyncio.sleep(POLL_SECONDS)
    return None


def _read(stack: Stack, sale_ids: Sequence[int], audits: dict[int, bool | None]) -> Evidence:
    with stack.sql() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = [Row(**found) for found in connection.execute(ROWS, (list(sale_ids),))]  # type: ignore[arg-type]
        found_sales: list[dict[str, Any]] = list(connection.execute(SALES, (list(sale_ids),)))
    with_holds = {row.sale_id for row in rows if row.kind == "reservation"}
    sales = [
        SaleRow(
            sale_id=sale["sale_id"],
            total_stock=sale["total_stock"],
            sold=sale["sold"],
            reserved=sale["reserved"],
            settled_through=sale["settled_through"],
            audit_agrees=audits[sale["sale_id"]],
            moved=sale["has_end"] or sale["sale_id"] in with_holds,
        )
        for sale in found_sales
    ]
    return Evidence(sales, rows)
