"""Fan-out: the news of a sale to every socket of this process that joined it.

Stock updates are conflated: at most ten a second a sale, the latest wins. Every frame is made once, however many
listen.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from models.events import between
from models.once import once
from models.purchases import changed_since
from models.record import PurchaseRecord
from models.sale_queries import snapshots_of
from models.snapshot import SaleSnapshot
from web.auth import Identity
from web.listener import Joined, SocketListener, frame
from web.news import news
from web.purchase_json import purchase_json

log = structlog.get_logger()

UPDATE_EVERY_SECONDS = 0.1
# After a silence: how many buyers PostgreSQL is asked about at once, and how many of their outcomes in one sale.
BUYERS_AT_ONCE = 1_000
CATCH_UP_MAX = 10_000
# Sales that nobody here joined, of which it is remembered how far their news were heard.
OTHER_SALES_MAX = 1_000


@dataclass(slots=True)
class _Room:
    """A sale's listeners, what they were last told, and what is newest."""

    members: set[SocketListener]
    told: SaleSnapshot | None = None
    latest: SaleSnapshot | None = None
    told_at: float = 0.0

    @property
    def is_behind(self) -> bool:
        return self.latest is not None and (self.told is None or self.latest.revision > self.told.revision)

    @property
    def is_urgent(self) -> bool:
        """Whether the news are more than numbers: a start, a pause, an end, or another time for one of them."""
        return self.told is None or self.latest is None or _course(self.told) != _course(self.latest)


def _course(sale: SaleSnapshot) -> tuple[object, ...]:
    """What of a sale buyers act on at once."""
    return sale.state, sale.paused, sale.starts_ms, sale.ends_ms


class Heard:
    """How far the news of each sale were heard, and behind which revision some may be missing. Under the hub's lock.

    Of sales with a room, and while a buyer is here of others: buyers hear of their purchases whatever they joined.
    """

    def __init__(self) -> None:
        self._through: OrderedDict[int, int] = OrderedDict()
        self._missed_behind: dict[int, int] = {}

    def begin(self, sale_id: int, revision: int) -> None:
        """A room was shown this revision, and hears what comes; a sale that was heard of before stays where it was."""
        self._through.setdefault(sale_id, revision)

    def hear(self, sale_id: int, revision: int, rooms: Collection[int]) -> None:
        """Of the sales without a room, those that nothing was heard of for longest are forgotten."""
        self._through[sale_id] = max(revision, self._through.get(sale_id, revision))
        self._through.move_to_end(sale_id)
        while len(self._through) > len(rooms) + OTHER_SALES_MAX:
            self.forget(next(known for known in self._through if known not in rooms))

    def miss(self) -> None:
        """The news were interrupted; where nobody could catch up with an earlier silence, that one counts."""
        for sale_id, revision in self._through.items():
            self._missed_behind[sale_id] = min(revision, self._missed_behind.get(sale_id, revision))

    def take_missed(self) -> dict[int, int]:
        """By sale, the revision behind which something may be missing; whoever cannot catch up gives it back."""
        missed, self._missed_behind = self._missed_behind, {}
        return missed

    def give_back(self, missed: Mapping[int, int]) -> None:
        self._missed_behind |= {sale_id: revision for sale_id, revision in missed.items() if sale_id in self._through}

    def forget(self, sale_id: int) -> None:
        self._through.pop(sale_id, None)
        self._missed_behind.pop(sale_id, None)

    def forget_others(self, rooms: Collection[int]) -> None:
        for sale_id in self._through.keys() - set(rooms):
            self.forget(sale_id)


class Hub:
    """The rooms of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news_came = threading.Event()
        self._interrupted = threading.Event()
        self._rooms: dict[int, _Room] = {}
        self._users: dict[int, set[SocketListener]] = {}
        self._heard = Heard()
        # How often the news were interrupted, and came back.
        self.silences = 0
        threading.Thread(target=self._flush_for_ever, name="hub", daemon=True).start()

    def join(self, listener: SocketListener, sale_id: int) -> Joined:
        """Put a listener into a sale's room; it hears nothing until `catch_up` finds it ready."""
        with self._lock:
            joined = listener.joined[sale_id] = Joined()
            self._rooms.setdefault(sale_id, _Room(set())).members.add(listener)
            return joined

    def is_caught_up(self, joined: Joined, shown: SaleSnapshot) -> bool:
        """Whether nothing came while the listener was shown this snapshot; from then on it hears everything."""
        with self._lock:
            if joined.behind:
                joined.behind = False
                return False
            room = self._rooms.get(shown.sale_id)
            if room is not None:
                room.told = room.told or shown
                self._heard.begin(shown.sale_id, shown.revision)
            joined.ready = True
            return True

    def revision_told(self, sale_id: int) -> int:
        """The revision that a sale's room was told last, or 0: whoever joins is not shown an earlier one."""
        with self._lock:
            room = self._rooms.get(sale_id)
            return room.told.revision if room is not None and room.told is not None else 0

    def leave(self, listener: SocketListener, sale_id: int) -> None:
        with self._lock:
            self._leave(listener, sale_id)

    def identify(self, listener: SocketListener, identity: Identity) -> None:
        """From now on this listener hears of this buyer's own purchases; with the next token it goes on hearing."""
        with self._lock:
            if listener.identity is not None and listener.identity.user_id != identity.user_id:
                self._forget_user(listener)
            listener.identity = identity
            self._users.setdefault(identity.user_id, set()).add(listener)

    def remove(self, listener: SocketListener) -> None:
        """The socket is gone."""
        with self._lock:
            for sale_id in list(listener.joined):
                self._leave(listener, sale_id)
            self._forget_user(listener)

    def counts(self) -> dict[str, int]:
        """How many rooms and how many identified buyers there are, for the metrics."""
        with self._lock:
            return {"rooms": len(self._rooms), "buyers": len(self._users)}

    # What the news reader calls.

    def wants(self, sale_id: int) -> bool:
        return sale_id in self._rooms or bool(self._users)

    def hear(self, sale: SaleSnapshot, outcomes: list[PurchaseRecord]) -> None:
        with self._lock:
            for outcome in outcomes:
                for listener in self._users.get(outcome.user_id, ()):
                    listener.send(settled_frame(outcome), outcome)
            room = self._rooms.get(sale.sale_id)
            if room is not None or self._users:
                self._heard.hear(sale.sale_id, sale.revision, self._rooms)
            if room is None or (room.latest is not None and room.latest.revision >= sale.revision):
                return
            room.latest = sale
        self._news_came.set()

    def missed(self) -> None:
        """The news were interrupted until now: the flusher asks PostgreSQL what they were."""
        with self._lock:
            self._heard.miss()
        self.silences += 1
        self._interrupted.set()
        self._news_came.set()

    def _flush_for_ever(self) -> None:
        while True:
            self._news_came.wait()
            self._news_came.clear()
            if self._interrupted.is_set():
                self._interrupted.clear()
                self._catch_up()
            pause = self._flush()
            if pause > 0:
                time.sleep(pause)
                self._news_came.set()

    def _flush(self) -> float:
        """Tell the rooms what is due; returns the seconds until the next that is not due yet, or 0."""
        now = time.monotonic()
        pause = 0.0
        with self._lock:
            for room in self._rooms.values():
                if not room.is_behind:
                    continue
                wait = room.told_at + UPDATE_EVERY_SECONDS - now
                if wait > 0 and not room.is_urgent:
                    pause = min(pause or wait, wait)
                    continue
                self._tell(room)
                room.told_at = now
        return pause

    def _catch_up(self) -> None:
        """Hear from PostgreSQL what was said while the reader was away: all of it, if need be the next time."""
        with self._lock:
            missed = self._heard.take_missed()
            users = list(self._users)
        if not missed:
            return
        try:
            for sale in snapshots_of(list(missed)):
                if sale.revision > missed[sale.sale_id]:
                    self._hear_since(sale, users, missed[sale.sale_id])
                del missed[sale.sale_id]
        except SQLAlchemyError as error:
            log.warning("hub.still_behind", error=type(error).__name__)
            with self._lock:
                self._heard.give_back(missed)
            time.sleep(1.0)
            self._interrupted.set()
            self._news_came.set()

    def _hear_since(self, sale: SaleSnapshot, users: list[int], revision: int) -> None:
        self.hear(sale, [])
        for first in range(0, len(users), BUYERS_AT_ONCE):
            buyers = users[first : first + BUYERS_AT_ONCE]
            self.hear(sale, changed_since(sale.sale_id, buyers, revision, CATCH_UP_MAX))

    @staticmethod
    def _tell(room: _Room) -> None:
        latest = room.latest
        if latest is None:
            return
        events = between(room.told, latest) if room.told else []
        frames = [frame(event.name, event.data) for event in events]
        room.told = latest
        for listener in room.members:
            joined = listener.joined.get(latest.sale_id)
            if joined is None:
                continue
            if not joined.ready:
                joined.behind = True
                continue
            for text in frames:
                listener.send(text)

    def _leave(self, listener: SocketListener, sale_id: int) -> None:
        listener.joined.pop(sale_id, None)
        room = self._rooms.get(sale_id)
        if room is not None:
            room.members.discard(listener)
            if not room.members:
                del self._rooms[sale_id]
                if not self._users:
                    self._heard.forget(sale_id)

    def _forget_user(self, listener: SocketListener) -> None:
        if listener.identity is None:
            return
        members = self._users.get(listener.identity.user_id)
        if members is not None:
            members.discard(listener)
            if not members:
                del self._users[listener.identity.user_id]
        if not self._users:
            self._heard.forget_others(self._rooms)


def settled_frame(outcome: PurchaseRecord) -> str:
    """`purchaseSettled`, for its buyer alone."""
    data: dict[str, Any] = {**purchase_json(outcome), "flashSaleId": str(outcome.sale_id), "seq": outcome.revision}
    return frame("purchaseSettled", data)


@once
def hub() -> Hub:
    """The hub of this process."""
    this = Hub()
    news().add(this)
    return this
