"""Telling what was committed: the gate's view, the events, the news to whoever waits.

Everything here comes after the commit, may run twice, and may fail without losing an outcome: PostgreSQL has it, and
the sweeper tells again.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import structlog
from redis.commands.core import Script
from redis.exceptions import RedisError
from sqlalchemy import select

from models import first_page, rediskeys
from models.database import transaction
from models.decide import Request
from models.purchase import Status
from models.record import PurchaseRecord
from models.redisclient import redis_client
from models.sale import FlashSale
from models.settings import settings
from models.snapshot import SaleSnapshot

log = structlog.get_logger()

SCRIPTS = ("view.lua", "first_page_changed.lua", "announce.lua")
# How long Redis remembers a sale that is over.
KEPT_SECONDS = 2 * 86_400
# What stands in the place of bytes that are no text (models/redisclient.py).
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
# What is on a leaderboard, and what no longer is.
BOUGHT = (Status.CONFIRMED, Status.REFUNDED)
NO_TRACES: Mapping[int, str] = MappingProxyType({})


@cache
def _script() -> Script:
    folder = Path(__file__).parent
    return redis_client().register_script("\n".join((folder / name).read_text() for name in SCRIPTS))


def announce(
    sale: SaleSnapshot,
    outcomes: Sequence[PurchaseRecord] = (),
    *,
    strays: Sequence[Request] = (),
    pace_per_second: float | None = None,
    read_through: Request | None = None,
    instead_of: int | None = None,
    traces: Mapping[int, str] = NO_TRACES,
) -> bool:
    """Tell the gate and the listeners of a sale's committed state and of purchases that changed with it.

    `strays` are mailbox entries that must line up anew. What is settled is trimmed up to `read_through`, the last that
    the caller has read, unless somebody else lies under its ticket now. A view of the revision `instead_of` is of a
    time that never was, and gives way. `traces` has, by ticket, the traceparent below which whoever hears of a traced
    outcome goes on. True if this was news to the view.

    Where the outcomes, in the order of their tickets, change the first page of the leaderboard, it is renewed.
    """
    known = settings()
    sale_id = sale.sale_id
    wire = sale.to_wire()
    view = [text for pair in sale.to_view().items() for text in pair]
    bought_from = next((outcome.ticket for outcome in outcomes if outcome.status in BOUGHT), "")
    is_news, is_page_old, *time = _script()(
        keys=_keys(sale_id, strays),
        args=[
            sale.revision,
            sale.settled_through,
            orjson.dumps(wire),
            known.events_kept_max,
            "" if pace_per_second is None else round(pace_per_second, 1),
            rediskeys.news(sale_id),
            _news(wire, outcomes, traces),
            len(strays),
            known.idempotency_hours * 3600,
            KEPT_SECONDS if sale.is_over else "",
            read_through.ticket if read_through else 0,
            "" if instead_of is None else instead_of,
            _witness(read_through) if read_through else "",
            bought_from,
            first_page.FIELD,
            first_page.KEPT_MS,
            *(stray.ticket for stray in strays),
            *view,
        ],
    )
    if is_page_old:
        first_page.renew(sale_id, time)
    return bool(is_news)


def _keys(sale_id: int, strays: Sequence[Request]) -> list[str]:
    return [
        rediskeys.view(sale_id),
        rediskeys.mailbox(sale_id),
        rediskeys.events(sale_id),
        rediskeys.counts(sale_id),
        rediskeys.leaderboard(sale_id),
        *(rediskeys.moved(sale_id, stray.ticket, stray.user_id) for stray in strays),
    ]


def _news(wire: Mapping[str, Any], outcomes: Sequence[PurchaseRecord], traces: Mapping[int, str]) -> bytes:
    """What whoever waits is told: the sale, the outcomes, and of the traced ones where to go on."""
    said: dict[str, Any] = {"sale": wire, "outcomes": [outcome.to_wire() for outcome in outcomes]}
    if traces:
        said["traces"] = {str(ticket): trace for ticket, trace in traces.items()}
    return orjson.dumps(said)


def _witness(request: Request) -> str:
    """The nonce by which Redis knows whether this entry is still there; empty where it was no text."""
    return "" if UNREADABLE in request.nonce else request.nonce


def tell(sale: SaleSnapshot, outcomes: Sequence[PurchaseRecord] = ()) -> bool:
    """announce(), for changes that stand whether or not Redis is there to hear of them.

    False if Redis is away or refuses: the sweeper tells later, and a gate without a view asks PostgreSQL.
    """
    try:
        announce(sale, outcomes)
    except RedisError as error:
        log.warning("announce.untold", sale=sale.sale_id, revision=sale.revision, error=type(error).__name__)
        return False
    return True


def rebuild_view(sale_id: int, *, instead_of: int | None = None) -> bool:
    """Tell Redis of a sale that it does not know, or knows wrongly; False if PostgreSQL does not know it either.

    Any number of callers may do this at once: a view that can be read, and is as new, stays as it is.
    """
    with transaction() as session:
        sale = session.scalar(select(FlashSale).where(FlashSale.id == sale_id, FlashSale.archived_at.is_(None)))
        if sale is None:
            return False
        snapshot = SaleSnapshot.of(sale)
    announce(snapshot, instead_of=instead_of)
    return True
