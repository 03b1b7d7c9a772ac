"""A client joins a sale: from what it saw last to now, without a gap and without a crowd at PostgreSQL's door.

What a sale is like comes from the gate's view in Redis (models/view.py). PostgreSQL is asked where Redis has no view,
and for a buyer's own purchases that changed while their client was away.
"""

import random
import time
from collections.abc import Iterable, Iterator

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.clock import now, to_iso
from models.events import SaleEvent, between, replay, stock_update, times_of
from models.purchases import changed_since
from models.record import PurchaseRecord
from models.snapshot import SaleSnapshot
from models.view import sale_as_told
from web.hub import hub, settled_frame
from web.listener import Joined, SocketListener, frame

CATCH_UP_TRIES = 20
OWN_PURCHASES_MAX = 1_000
# How often a client queues up for one of this process's connections to PostgreSQL.
POOL_TRIES = 5
POOL_PAUSE_SECONDS = 0.5


def join_sale(listener: SocketListener, sale_id: int, since: int | None, *, knows_state: bool = True) -> None:
    """Show a sale to a client that last saw revision `since` of it (None: never), and let it hear what comes.

    One that does not read the sale's state, and comes when the sale is over, is told so by `flashSaleEnded`.

    Raises SaleNotFoundError, and what PostgreSQL and Redis raise where they are needed and away: it has not joined then
    and may try again.
    """
    hub().leave(listener, sale_id)
    joined = hub().join(listener, sale_id)
    try:
        is_there = _catch_up(listener, joined, sale_id, since, knows_state=knows_state)
    except BaseException:
        hub().leave(listener, sale_id)
        raise
    if not is_there:
        # A sale that changes faster than it can be read: the client comes back with what it has seen.
        listener.drop()


def _catch_up(listener: SocketListener, joined: Joined, sale_id: int, since: int | None, *, knows_state: bool) -> bool:
    """Read only after the hub listens for this client: what is told from now on either was read, or is heard."""
    silences = hub().silences
    shown = first = sale_as_told(sale_id, max(since or 0, hub().revision_told(sale_id)))
    _greet(listener, first, since)
    if first.is_over and since is None and not knows_state:
        ended = {"flashSaleId": str(sale_id), "reason": first.end_reason, "seq": first.revision}
        listener.catch_up([frame("flashSaleEnded", ended)])
    for _ in range(CATCH_UP_TRIES):
        if hub().is_caught_up(joined, shown):
            if hub().silences != silences:
                # The hub hears of the buyer's own purchases from the moment that the client says who it is, but for
                # what was said while the news were interrupted.
                _tell_own_purchases(listener, sale_id, first.revision)
            return True
        current = sale_as_told(sale_id, shown.revision)
        listener.catch_up(_frames(between(shown, current)))
        shown = current
    return False


def _greet(listener: SocketListener, sale: SaleSnapshot, since: int | None) -> None:
    """What the client missed, its own purchases that changed since, and the sale as it is now."""
    if since is not None and since > sale.revision:
        # PostgreSQL was asked as well: the shop was put back from a copy that is older than what this client saw.
        _tell_missed(listener, sale, since)
        _tell_own_purchases(listener, sale.sale_id, 0)
    elif since is not None and since < sale.revision:
        _replay(listener, sale, since)
        _tell_own_purchases(listener, sale.sale_id, since)
    event = stock_update(sale)
    state = {"state": sale.state, "paused": sale.paused, "settledThrough": sale.settled_through}
    whole = {**event.data, **state, **times_of(sale), "serverTime": to_iso(now())}
    listener.catch_up([frame(event.name, whole)])


def _replay(listener: SocketListener, sale: SaleSnapshot, since: int) -> None:
    past = replay(sale.sale_id, since)
    if not past.complete:
        _tell_missed(listener, sale, since)
    listener.catch_up(_frames(past.events))
    if past.latest is not None and past.latest.revision < sale.revision:
        listener.catch_up(_frames(between(past.latest, sale)))


def _tell_missed(listener: SocketListener, sale: SaleSnapshot, since: int) -> None:
    missed = {"flashSaleId": str(sale.sale_id), "since": since, "seq": sale.revision}
    listener.catch_up([frame("eventsMissed", missed)])


def _frames(events: Iterable[SaleEvent]) -> Iterator[str]:
    return (frame(event.name, event.data) for event in events)


def _tell_own_purchases(listener: SocketListener, sale_id: int, since: int) -> None:
    if listener.identity is None:
        return
    records = _changed_since(sale_id, listener.identity.user_id, since)
    listener.catch_up(settled_frame(record) for record in records)


def _changed_since(sale_id: int, user_id: int, since: int) -> list[PurchaseRecord]:
    """When all come back at once, the last in the queue for a connection outwait its bound, and queue up again."""
    for attempt in range(1, POOL_TRIES):
        try:
            return changed_since(sale_id, [user_id], since, OWN_PURCHASES_MAX)
        except PoolTimeoutError:
            time.sleep(random.uniform(0, attempt * POOL_PAUSE_SECONDS))  # noqa: S311 - not a secret
    return changed_since(sale_id, [user_id], since, OWN_PURCHASES_MAX)
