"""Being the one who settles a sale, for one transaction: who may, and the sale's row under its lock."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import TIMESTAMP, Boolean, Select, Text, bindparam, func, select, text, true
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from models.archives import refuse_archived
from models.messages import Statement, driver_of
from models.sale import FlashSale
from models.sale_rules import SaleNotFoundError
from models.settings import settings

# How much longer a worker waits for a sale's row than anybody who has it may stall.
NEXT_WAITS_MS = 1_000

# Be the one who settles, then wait for the sale's row, then look at the clock: in this order, and in one trip. The
# first lock is not the row's, for which checkouts and operators wait as well: only whoever settles has to know of the
# others. LATERAL keeps the order: PostgreSQL has to have `turn` before it can look for the row.
TURN = select(
    text(
        "set_config('idle_in_transaction_session_timeout', :stall_ms, true), set_config('lock_timeout', :lock_ms, true)"
    ),
    func.pg_try_advisory_xact_lock(func.hashtextextended(bindparam("name", type_=Text), 0), type_=Boolean).label(
        "ours"
    ),
).cte("turn")
THE_SALE = (
    select(FlashSale).where(FlashSale.id == bindparam("sale_id"), TURN.c.ours).with_for_update(of=FlashSale).lateral()
)
TAKE_OVER = select(THE_SALE, TURN.c.ours, func.clock_timestamp(type_=TIMESTAMP(timezone=True))).select_from(
    TURN.outerjoin(THE_SALE, true())
)
COLUMNS = tuple(THE_SALE.c.keys())


class BusyError(Exception):
    """Another worker settles this sale at this moment."""


def take_over(session: Session, sale_id: int) -> tuple[FlashSale, datetime]:
    """Be the one who settles this sale, for one transaction: its row, locked, and PostgreSQL's time since then.

    Whoever stalls with a sale in hand is put out sooner than others: a worker that is cut off from PostgreSQL looks to
    it like one that is idle in its transaction. Raises BusyError where somebody else settles it, SaleNotFoundError and
    ArchivedSaleError as `lock_sale`, and what psycopg raises.
    """
    stall_ms = settings().settle_stall_ms
    values = {
        "stall_ms": str(stall_ms),
        "lock_ms": str(stall_ms + NEXT_WAITS_MS),
        "name": f"settling {sale_id}",
        "sale_id": sale_id,
    }
    # Past the session, which would take as long again to keep watch over the row: what a batch changes of it is written
    # together with the purchases.
    words, constants = _in_words(TAKE_OVER)
    found = driver_of(session).execute(words, {**constants, **values}).fetchone()
    assert found is not None  # noqa: S101 - an outer join has its first side's row
    *row, is_ours, now = found
    if not is_ours:
        raise BusyError
    sale = FlashSale()
    for name, value in zip(COLUMNS, row, strict=True):
        set_committed_value(sale, name, value)
    if sale.id is None:
        raise SaleNotFoundError
    refuse_archived(session, sale)
    return sale, now


@cache
def _in_words(statement: Select[Any]) -> Statement:
    """A statement as psycopg reads it, and the values that it has in itself."""
    compiled = statement.compile(dialect=psycopg.dialect())  # type: ignore[no-untyped-call]
    return str(compiled), compiled.params
