"""A sale's events: what happened between two snapshots, and the stream of snapshots that a returning client reads.

The stream holds snapshots rather than events, numbered by the sale's revision. So an event can be neither doubled by
a crash nor lost by two announcements that overtake each other: it is whatever differs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import orjson
import structlog

from models import rediskeys
from models.clock import from_ms, to_iso
from models.redisclient import redis_client
from models.sale import SaleState
from models.snapshot import SaleSnapshot

log = structlog.get_logger()

# Snapshots read from the stream at once.
REPLAY_MAX = 1_000
# That of a sale as it was made.
FIRST_REVISION = 1


@dataclass(frozen=True, slots=True)
class SaleEvent:
    """One frame for a sale's listeners: `seq` is the sale's revision."""

    name: str
    data: dict[str, Any]


def between(before: SaleSnapshot, after: SaleSnapshot) -> list[SaleEvent]:
    """What the listeners of a sale have to hear when it went from one snapshot to a newer one."""
    return list(_between(before, after))


def _between(before: SaleSnapshot, after: SaleSnapshot) -> Iterator[SaleEvent]:
    sale_id = str(after.sale_id)
    # Of a sale that is over nobody waits for a time; if it goes on again, its times are told whatever they were.
    if not after.is_over and (before.is_over or times_of(after) != times_of(before)):
        yield SaleEvent("flashSaleMoved", {"flashSaleId": sale_id, **times_of(after), "seq": after.revision})
    opened = before.state != SaleState.LIVE and (
        after.state == SaleState.LIVE or (before.state == SaleState.SCHEDULED and after.sold + after.reserved > 0)
    )
    if opened:
        yield SaleEvent("flashSaleStarted", {"flashSaleId": sale_id, "seq": after.revision})
    if after.paused != before.paused:
        name = "flashSalePaused" if after.paused else "flashSaleResumed"
        yield SaleEvent(name, {"flashSaleId": sale_id, "seq": after.revision})
    if after.remaining != before.remaining:
        yield stock_update(after)
    if after.settled_through != before.settled_through:
        yield SaleEvent(
            "lineMoved",
            {"flashSaleId": sale_id, "settledThrough": after.settled_through, "seq": after.revision},
        )
    if after.is_over and not before.is_over:
        yield SaleEvent("flashSaleEnded", {"flashSaleId": sale_id, "reason": after.end_reason, "seq": after.revision})


def times_of(sale: SaleSnapshot) -> dict[str, str | None]:
    """When a sale starts and ends, ISO 8601 in UTC; without an end it goes on until it is sold out."""
    ends_at = None if sale.ends_ms is None else to_iso(from_ms(sale.ends_ms))
    return {"startsAt": to_iso(from_ms(sale.starts_ms)), "endsAt": ends_at}


def stock_update(sale: SaleSnapshot) -> SaleEvent:
    units = {"availableUnits": sale.remaining, "totalUnits": sale.total_stock}
    return SaleEvent("stockUpdate", {"flashSaleId": str(sale.sale_id), **units, "seq": sale.revision})


@dataclass(frozen=True, slots=True)
class Replay:
    """What a client that last saw `since` has to hear; `complete` is False where the stream no longer holds it all."""

    events: list[SaleEvent]
    latest: SaleSnapshot | None
    complete: bool


def replay(sale_id: int, since: int) -> Replay:
    """The events after revision `since`, from the stream.

    Raises redis errors where Redis is away.
    """
    key = rediskeys.events(sale_id)
    earlier = redis_client().xrevrange(key, max=f"{since}-1", count=1)
    later = redis_client().xrange(key, min=f"({since}-1", count=REPLAY_MAX)
    entries = [*cast(list[Any], earlier), *cast(list[Any], later)]
    try:
        snapshots = [SaleSnapshot.from_wire(orjson.loads(fields["s"])) for _, fields in entries]
    except (ValueError, TypeError, LookupError):
        log.warning("events.spoilt", sale=sale_id)
        return Replay([], None, complete=False)
    events = [event for before, after in pairwise(snapshots) for event in between(before, after)]
    # Without the snapshot that the client last saw, something may be missing in between; before the first was nothing.
    is_from_start = since == 0 and bool(snapshots) and snapshots[0].revision == FIRST_REVISION
    complete = (bool(earlier) or is_from_start) and len(cast(list[Any], later)) < REPLAY_MAX
    return Replay(events, snapshots[-1] if snapshots else None, complete)
