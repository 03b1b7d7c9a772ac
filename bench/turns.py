"""The workers' turns at the lines, as `models/settle.py` takes them.

A worker and PostgreSQL work one after the other, except that the worker tells of one batch and reads the next while
PostgreSQL writes what lies between. In a turn the worker asks Redis several things, one after the other: in a rush it
waits each time until Redis has served all who were there before it, and until its disk has that.
"""

from collections import defaultdict

from bench.calibration import Costs
from bench.shop import Shop
from bench.stations import Fifo, Station

# What a turn asks Redis until it has read the line: for the message; then to take down the flag and for the line, at
# once. Then outcomes are told. Behind that come first page, who asked for another turn, Flower's event.
TRIPS_BEFORE, TRIPS_TO_TELL, TRIPS_BEHIND = 2, 1, 3
TRIPS = TRIPS_BEFORE + TRIPS_TO_TELL + TRIPS_BEHIND
# So many of them write, and wait for the disk though nobody else is there.
WRITES_BEFORE, WRITES_TO_TELL, WRITES_BEHIND = 2, 1, 0
# Whoever comes to a Redis that is at work finds half a round still to go, and is in the next one.
ROUNDS_A_TRIP = 1.5


class Turns:
    """The turns at all the lines of a crowd: their sales are alike, so that all workers do the same at any time."""

    def __init__(self, shop: Shop, costs: Costs, sales: int) -> None:
        self._shop, self._costs = shop, costs
        # One worker at a time has a sale.
        self.lines = min(shop.workers, sales)
        self.station = Station("settling", self.lines, {shop.worker: 1.0})
        self.committed, self.told = Fifo(), Fifo()
        self.begun = 0
        self._is_on = self._ends = self._is_full = self._goes_on = False
        self._number = 0
        self._wait_ms = self._left_ms = 0.0

    @property
    def waiting(self) -> int:
        """Who is in a batch that is not told yet."""
        return self.station.line.total + self.committed.total

    def begin(self, line: Fifo, round_ms: float, tick_ms: float) -> float:
        """Go on in a tick in which Redis takes `round_ms` to serve those who are there (0: nobody is).

        Returns how much of the tick, in milliseconds, is left for the CPUs' part of a batch.
        """
        self._left_ms, rested = tick_ms, not self._is_on
        if self.committed.total and not self.station.line.total and self._waited():
            self._tell(line, round_ms)
        if self._ends and self._waited():
            self._is_on, self._ends, self._goes_on = False, False, self._is_full
        if not self._is_on and line.total and self.lines:
            self._start(round_ms)
            if rested:
                # In a rush the next wake-up lies there already; to a worker at rest it has to come first.
                self._wait_ms += self._costs.wake_ms + self._asked_ms(1, 1, round_ms)
        can_take = self._is_on and not self._ends and not self.waiting
        if can_take and self._waited():
            self._take(line)
        return self._left_ms if self.station.line.total else 0.0

    def end(self, done: int, granted_ms: float, round_ms: float) -> bool:
        """So many are written, by so much of the cores. Whether that was the last of the batch: it is committed now."""
        for came, part, _ in self.station.line.take(done):
            self.committed.put(came, part)
        if self.station.line.total or not self.committed.total or not done:
            return False
        # The rest of the tick counts towards what comes next.
        self._wait_ms = self._costs.fsync_ms - max(0.0, self._left_ms - granted_ms / self.lines)
        if not self._has_next:
            self._wait_ms += self._asked_ms(TRIPS_TO_TELL, WRITES_TO_TELL, round_ms)
        return True

    @property
    def _has_next(self) -> bool:
        """Whether another batch follows in the same turn."""
        return self._is_full and self._number < self._shop.batches_per_turn

    def _start(self, round_ms: float) -> None:
        self._is_on, self._number = True, 0
        self.begun += self.lines
        self._wait_ms += self._asked_ms(TRIPS_BEFORE, WRITES_BEFORE, round_ms)

    def _tell(self, line: Fifo, round_ms: float) -> None:
        for came, part, _ in self.committed.take(self.committed.total):
            self.told.put(came, part)
        if not (self._has_next and line.total):
            self._ends = True
            self._wait_ms += self._asked_ms(TRIPS_BEHIND, WRITES_BEHIND, round_ms)

    def _asked_ms(self, trips: int, writes: int, round_ms: float) -> float:
        return max(trips * ROUNDS_A_TRIP * round_ms, writes * self._costs.fsync_ms)

    def _waited(self) -> bool:
        """Let the time pass that has to be waited; whether that is over within the tick."""
        waited = min(self._left_ms, self._wait_ms)
        self._wait_ms -= waited
        self._left_ms -= waited
        if self._is_full:
            self.station.busy_ms += max(0.0, waited) * self.lines
        if self._wait_ms > 0:
            return False
        self._wait_ms = 0.0
        return True

    def _take(self, line: Fifo) -> None:
        """What waits now is the next batch."""
        costs, room = self._costs, self._shop.batch_max * self.lines
        count = min(line.total, room)
        for came, part, _ in line.take(count):
            self.station.line.put(came, part)
        self._is_full = count == room
        self._number += 1
        is_first = self._number == 1
        # Half of what can be done beside PostgreSQL is reading, which the first batch cannot, and half is telling.
        beside_ms = costs.settle_beside_ms + costs.settle_redis_ms
        alone_ms = beside_ms / 2 * (is_first + (not self._has_next))
        worker_ms = costs.settle_worker_ms - costs.settle_beside_ms
        each_ms = worker_ms + alone_ms + max(costs.settle_postgres_ms, beside_ms - alone_ms)
        turn_ms = costs.turn_worker_ms + (costs.wake_ms if self._goes_on else 0.0) if is_first else 0.0
        written_ms = costs.turn_postgres_ms if is_first else 0.0
        self.station.cost_ms = each_ms
        self.station.owe((turn_ms + written_ms) * self.lines)
        whole_ms = (turn_ms + written_ms) * self.lines + each_ms * count
        shares: defaultdict[str, float] = defaultdict(float)
        if whole_ms > 0:
            shares[self._shop.worker] += (turn_ms * self.lines + costs.settle_worker_ms * count) / whole_ms
            shares[self._shop.postgres] += (written_ms * self.lines + costs.settle_postgres_ms * count) / whole_ms
        self.station.pools = {pool: share for pool, share in shares.items() if share > 0}
