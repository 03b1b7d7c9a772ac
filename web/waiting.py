"""Waiting for an outcome: `Prefer: wait` and `?wait`, woken by the news rather than by polling.

On an event loop or as a greenlet a wait is cheap. In a thread it keeps others from being answered, so only a share of
web's threads may wait.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable

from models.looks import Place
from models.once import once
from models.record import PurchaseRecord
from models.runtime import on_gevent
from models.settings import settings
from models.snapshot import SaleSnapshot
from models.trips import Bell, Trips
from web.news import news

# The share of web's request threads that may wait; the others answer.
WAITING_SHARE = 0.5
# The share of them in which those who wait may ask PostgreSQL for their outcome.
LOOKING_SHARE = 0.25
# As greenlets, or on a loop: more than a process has connections.
WAITING_MAX = 5_000
# How long to trust the news before PostgreSQL is asked: first for an outcome that came between the gate's answer and
# the wait, then for news that never came.
FIRST_LOOK_SECONDS = 0.5
NEXT_LOOK_SECONDS = 2.0
# How many of those who wait ask PostgreSQL at once: a crowd that has missed the news must not fill the threads, or the
# connections, in which everybody else is answered. The others come again so much later.
LOOKS_MAX = 4
LOOK_LATER_SECONDS = 0.2, 1.0
# How long a process goes on reading the news of a sale after the last who waited, and how many outcomes it remembers
# of one sale: whoever asks a moment after the outcome came finds it here.
INTEREST_SECONDS = 3.0
REMEMBERED_MAX = 5_000
SALES_REMEMBERED_MAX = 200


class _Wait:
    def __init__(self, user_id: int, bell: Bell) -> None:
        self.user_id = user_id
        self.bell = bell
        self.record: PurchaseRecord | None = None


class _Recent:
    """The outcomes of a sale that were in the news lately, by ticket; what came first is forgotten first.

    `heard_through` is the ticket through which the last of the news had settled; 0 before the first.
    """

    def __init__(self) -> None:
        self.asked_at = time.monotonic()
        self.heard_through = 0
        self.outcomes: dict[int, tuple[PurchaseRecord, float]] = {}

    def remember(self, outcomes: list[PurchaseRecord]) -> None:
        moment = time.monotonic()
        for outcome in outcomes:
            # What a ticket given out twice, or a duplicate, comes to is PostgreSQL's to say.
            if outcome.original_ticket is not None or outcome.duplicate_of is not None:
                continue
            known, _ = self.outcomes.get(outcome.ticket, (None, 0.0))
            # A worker that was held up between its commit and its telling tells of a hold that has ended since.
            if known is None or known.revision <= outcome.revision:
                self.outcomes.pop(outcome.ticket, None)
                self.outcomes[outcome.ticket] = outcome, moment
        for ticket in list(itertools.islice(self.outcomes, max(0, len(self.outcomes) - REMEMBERED_MAX))):
            del self.outcomes[ticket]


class Waiters:
    """Who waits for which ticket in this process."""

    def __init__(self, places: int, looks: int = LOOKS_MAX) -> None:
        """`places` is how many may wait in threads, or as greenlets; `looks` how many of all may look at once."""
        self._places = threading.BoundedSemaphore(places)
        self._loop_places = threading.BoundedSemaphore(WAITING_MAX)
        self._looks = threading.BoundedSemaphore(looks)
        self._lock = threading.Lock()
        self._waits: dict[int, dict[int, list[_Wait]]] = {}
        self._recent: dict[int, _Recent] = {}
        self._leaving = False

    def heard_of(self, sale_id: int, ticket: int, user_id: int, since: float = 0) -> PurchaseRecord | None:
        """The outcome of this user's ticket, if the news of the last moments had it. Asking is a sign of interest.

        `since` is the moment, by the monotonic clock, before which no news can be about this request: a Redis that came
        back from the past gives the same ticket to another one.
        """
        moment = time.monotonic()
        with self._lock:
            recent = self._recent.get(sale_id)
            if recent is None:
                self._make_room(moment)
                recent = self._recent[sale_id] = _Recent()
            recent.asked_at = moment
            record, heard_at = recent.outcomes.get(ticket, (None, 0.0))
        return record if record is not None and record.user_id == user_id and heard_at >= since else None

    def are_on_their_way(self, sale_id: int, ticket: int, told_through: int) -> bool:
        """Whether the news of this ticket are on their way, now that the outcomes of all through `told_through` were
        told: this process hears of the sale, and has not heard as far. Where it has, PostgreSQL is to be asked."""
        recent = self._recent.get(sale_id)
        return recent is not None and 0 < recent.heard_through < ticket <= told_through

    def _make_room(self, moment: float) -> None:
        """Anybody can ask about sales that nobody has news of, and what is over is not asked about again."""
        for sale_id, recent in list(self._recent.items()):
            if moment - recent.asked_at > INTEREST_SECONDS or len(self._recent) >= SALES_REMEMBERED_MAX:
                del self._recent[sale_id]

    async def wait(
        self,
        trips: Trips,
        place: Place,
        user_id: int,
        seconds: float,
        look: Callable[[], PurchaseRecord | None],
        *,
        since: float = 0,
    ) -> PurchaseRecord | None:
        """The settled purchase at this place, or None if it did not settle in time or no place to wait was free.

        `look` reads the purchase as it stands, or says None where it cannot; it is asked now and then, in case the news
        were missed. `since`: see `heard_of`.
        """
        places = self._places if trips.holds_thread else self._loop_places
        if seconds <= 0 or not places.acquire(blocking=False):
            return None
        sale_id, ticket = place
        wait = _Wait(user_id, trips.bell())
        self._register(sale_id, ticket, wait)
        try:
            if (heard := self.heard_of(sale_id, ticket, user_id, since)) is not None:
                return heard
            return await self._wait(trips, wait, time.monotonic() + seconds, look)
        finally:
            self._forget(sale_id, ticket, wait)
            places.release()

    async def look(self, trips: Trips, look: Callable[[], PurchaseRecord | None]) -> tuple[bool, PurchaseRecord | None]:
        """Whether there was room to look, and what was found: whoever looks holds a thread, and a connection."""
        if not self._looks.acquire(blocking=False):
            return False, None
        try:
            return True, await trips.aside(look)
        finally:
            self._looks.release()

    async def _wait(
        self, trips: Trips, wait: _Wait, end: float, look: Callable[[], PurchaseRecord | None]
    ) -> PurchaseRecord | None:
        pause = FIRST_LOOK_SECONDS
        while (left := end - time.monotonic()) > 0:
            await wait.bell.heard(min(left, pause))
            if wait.record is not None:
                return wait.record
            has_looked, record = await self.look(trips, look)
            if record is not None and record.is_settled:
                return record
            pause = NEXT_LOOK_SECONDS if has_looked else random.uniform(*LOOK_LATER_SECONDS)  # noqa: S311 - a pause
            if self._leaving:
                return None
        return None

    def _register(self, sale_id: int, ticket: int, wait: _Wait) -> None:
        with self._lock:
            self._waits.setdefault(sale_id, {}).setdefault(ticket, []).append(wait)

    def _forget(self, sale_id: int, ticket: int, wait: _Wait) -> None:
        with self._lock:
            tickets = self._waits[sale_id]
            tickets[ticket].remove(wait)
            if not tickets[ticket]:
                del tickets[ticket]
            if not tickets:
                del self._waits[sale_id]

    def wants(self, sale_id: int) -> bool:
        recent = self._recent.get(sale_id)
        if recent is not None and time.monotonic() - recent.asked_at > INTEREST_SECONDS:
            with self._lock:
                self._recent.pop(sale_id, None)
        return sale_id in self._waits or sale_id in self._recent

    def hear(self, sale: SaleSnapshot, outcomes: list[PurchaseRecord]) -> None:
        with self._lock:
            recent = self._recent.get(sale.sale_id)
            if recent is not None:
                recent.remember(outcomes)
                recent.heard_through = max(recent.heard_through, sale.settled_through)
            tickets = self._waits.get(sale.sale_id, {})
            for outcome in outcomes:
                for ticket in {outcome.ticket, outcome.original_ticket or outcome.ticket}:
                    for wait in tickets.get(ticket, ()):
                        self._answer(wait, outcome)

    @staticmethod
    def _answer(wait: _Wait, outcome: PurchaseRecord) -> None:
        if wait.user_id != outcome.user_id:
            # The ticket was given out twice; the news of the other request are not for this one.
            return
        if outcome.duplicate_of is None:
            wait.record = outcome
        # A duplicate's answer is its first's: let the wait look it up.
        wait.bell.ring()

    def leave(self) -> None:
        """This process stops: everyone looks once more and answers with what they find."""
        self._leaving = True
        self.missed()

    def missed(self) -> None:
        """The news were interrupted: everyone looks for themselves."""
        with self._lock:
            # A hold that was remembered may have ended meanwhile.
            self._recent.clear()
            for tickets in self._waits.values():
                for waits in tickets.values():
                    for wait in waits:
                        wait.bell.ring()


@once
def waiters() -> Waiters:
    """The waiters of this process."""
    threads = settings().web_threads
    if on_gevent():
        these = Waiters(WAITING_MAX)
    else:
        these = Waiters(max(1, int(threads * WAITING_SHARE)), max(1, min(LOOKS_MAX, int(threads * LOOKING_SHARE))))
    news().add(these)
    return these
