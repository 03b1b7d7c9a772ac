"""The first page of a sale's leaderboard, which everybody looks at: kept in Redis, renewed by whoever changes it.

What is kept was read from PostgreSQL at most a second ago by Redis's own clock, even if whoever changed it died: it is
kept until a second after the moment before it was read. A newer page is never replaced by an older one.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from pathlib import Path
from typing import cast

import orjson
import structlog
from redis.commands.core import Script
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from models import rediskeys
from models.archives import refuse_archived_sale
from models.clock import to_ms
from models.database import transaction
from models.leaderboard import Row
from models.redisclient import redis_client
from models.sale_rules import SaleNotFoundError

log = structlog.get_logger()

# Rows of the first page, and one more that tells whether there is a second.
FIRST_PAGE = 20
KEPT_MS = 1_000
# A process of another version, whose rows have other fields, keeps them elsewhere.
FIELD = f"rows:{len(fields(Row))}"

# A sale's first confirmed purchases with the sale's revision: one statement, so one moment.
READ = text("""
    SELECT sale.revision, sale.product_id, sale.history_archived_at,
           bought.ticket, bought.user_id, bought.quantity, bought.admitted_at, buyer.name, buyer.email
    FROM flash_sales AS sale
    LEFT JOIN LATERAL (
      SELECT ticket, user_id, quantity, admitted_at FROM purchases
      WHERE purchases.sale_id = :sale_id AND status = 'confirmed'
      ORDER BY ticket LIMIT :limit
    ) AS bought ON true
    LEFT JOIN users AS buyer ON buyer.id = bought.user_id
    WHERE sale.id = :sale_id AND sale.archived_at IS NULL
    ORDER BY bought.ticket
""")


@dataclass(frozen=True, slots=True)
class _Page:
    revision: int
    rows: list[Row]


def first_page(sale_id: int) -> list[Row]:
    """The first FIRST_PAGE rows of `chronological`, and one more if there is one; at most a second old.

    Raises SaleNotFoundError, also for an archived sale, and HistoryArchivedError.
    """
    try:
        kept, now_ms = _ask(sale_id)
    except RedisError as error:
        log.warning("leaderboard.unkept", sale=sale_id, error=type(error).__name__)
        return _read(sale_id).rows
    if kept is not None:
        try:
            return [Row(*each) for each in orjson.loads(kept)]
        except (ValueError, TypeError):
            log.warning("leaderboard.spoilt", sale=sale_id)
    page = _read(sale_id)
    try:
        _keep(sale_id, page, now_ms)
    except RedisError as error:
        log.warning("leaderboard.unkept", sale=sale_id, error=type(error).__name__)
    return page.rows


def renew(sale_id: int, time: Sequence[str]) -> None:
    """Read the page that is kept anew, behind a commit that changed it and that Redis was told of at this time of its
    own (models/first_page_changed.lua).

    Never raises for a server that is away: the change stands, and what is kept is gone within a second.
    """
    try:
        _keep(sale_id, _read(sale_id), _to_ms(time))
    except SaleNotFoundError:
        return
    except (RedisError, SQLAlchemyError) as error:
        log.warning("leaderboard.unrefreshed", sale=sale_id, error=type(error).__name__)


def _ask(sale_id: int) -> tuple[str | None, int]:
    """What is kept, and the time in milliseconds by the clock of whoever keeps it, in one round trip."""
    kept, time = _read_kept()(keys=[rediskeys.leaderboard(sale_id)], args=[FIELD])
    return cast(str | None, kept), _to_ms(time)


def _to_ms(time: Sequence[str]) -> int:
    """Redis's TIME, which is seconds and microseconds, in milliseconds."""
    seconds, microseconds = time
    return int(seconds) * 1000 + int(microseconds) // 1000


@cache
def _read_kept() -> Script:
    return redis_client().register_script("return {redis.call('HGET', KEYS[1], ARGV[1]), redis.call('TIME')}")


def _read(sale_id: int) -> _Page:
    with transaction() as session:
        found = session.execute(READ, {"sale_id": sale_id, "limit": FIRST_PAGE + 1}).all()
    if not found:
        raise SaleNotFoundError
    if found[0].history_archived_at is not None:
        refuse_archived_sale(sale_id)
    rows = [
        Row(
            sale_id=sale_id,
            ticket=each.ticket,
            user_id=each.user_id,
            quantity=each.quantity,
            admitted_ms=to_ms(each.admitted_at),
            product_id=each.product_id,
            name=each.name,
            email=each.email,
        )
        for each in found
        if each.ticket is not None
    ]
    return _Page(found[0].revision, rows)


def _keep(sale_id: int, page: _Page, read_after_ms: int) -> None:
    rows = orjson.dumps([astuple(row) for row in page.rows])
    ends: int | str = page.rows[-1].ticket if len(page.rows) > FIRST_PAGE else ""
    _script()(keys=[rediskeys.leaderboard(sale_id)], args=[page.revision, FIELD, rows, read_after_ms + KEPT_MS, ends])


@cache
def _script() -> Script:
    return redis_client().register_script(Path(__file__).with_name("first_page.lua").read_text())
