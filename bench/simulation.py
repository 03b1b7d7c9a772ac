"""A rush, simulated in ticks: web, gate, line, worker and live, each with what a request costs it.

Whoever is in line waits for the outcome on web, where a wait holds no thread; live has the sockets.

In ticks of some milliseconds and not request by request: what waits is counted in cohorts, so a million buyers take
seconds and not minutes, and a tick is far below every wait that is of interest. Counts stay whole numbers, and every
cohort knows when it came: nobody is lost in rounding. Sales of one crowd are alike, and so are machines of a kind.
"""

from collections import defaultdict
from math import ceil

import numpy as np

from bench.calibration import Costs
from bench.outcome import ADMITTED, ASIDE, CONFIRMED, LINE_FULL, REJECTED, SOLD_OUT, Outcome, Sample
from bench.shop import Crowd, Shop
from bench.stations import EPSILON, Fifo, Station, share_out
from bench.turns import Turns
from ops.errors import OpsError

SIMULATED_SECONDS_MAX = 7_200
# Who is told that the line is full comes again after one to two seconds.
RETRY_SECONDS = 1.0
# Ten updates of the stock a second, at most.
UPDATE_SECONDS = 0.1
# So many refusals that one web process hears within a second are a crowd: it repeats them by itself for so long, and
# then somebody asks the gate again.
CROWD, CROWD_SECONDS = 50, 1.0
REPEATED_SECONDS = 0.2
# What a cluster's gate costs each of the three shards that it asks, of what one Redis pays for the whole.
SHARD_SHARE = 0.5
SAMPLE_SECONDS = 0.05


class Simulation:
    """One crowd at one shop; `run` once."""

    def __init__(self, shop: Shop, costs: Costs, crowd: Crowd, *, tick_ms: float = 10.0) -> None:
        self.shop, self.costs, self.crowd, self.tick_ms = shop, costs, crowd, tick_ms
        self.outcome = Outcome(tick_ms)
        self.tick = 0
        self.generator = Station("generator", 1, {shop.web: 1.0})
        self.web = Station("web", shop.web_processes, {shop.web: 1.0})
        self.gate = Station("Redis", 1, {shop.redis: 1.0})
        self.live = Station(ASIDE, shop.live_processes, {shop.web: 1.0})
        self.turns = Turns(shop, costs, crowd.sales)
        self.settling = self.turns.station
        self.stations = [self.generator, self.web, self.gate, self.live, self.settling]
        # Chores and beat are there as well.
        idle = costs.idle_ms / 1000 if shop.workers else 0.0
        self._cores = {pool: count - (idle if pool == shop.worker else 0.0) for pool, count in shop.cores.items()}
        self._line, self._turns_ms = Fifo(), 0.0
        self._units = crowd.units * crowd.sales
        self._sold_untold = 0
        # Who knows as soon as web has said so; marked is who has a unit.
        self._unanswered = Fifo()
        self._is_sold_out = not self._units
        self._repeated_until, self._window_at, self._refused = 0.0, 0.0, 0
        self._is_crowd = False
        self._due: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self._to_retry = 0
        self._update_due, self._stock_moved = 0.0, False
        self._random = np.random.default_rng(crowd.seed)
        self._pool_used: defaultdict[str, float] = defaultdict(float)

    def run(self) -> Outcome:
        """Raises OpsError where it would not end within hours."""
        arrivals = self._arrivals()
        while self.tick < len(arrivals) or self._in_system or self.generator.line.total or not self.live.is_paid_up:
            if self.now > SIMULATED_SECONDS_MAX:
                raise OpsError(f"{self.shop.name}: {self.crowd.buyers:,} take over {SIMULATED_SECONDS_MAX:,} s")
            if self.tick < len(arrivals):
                self._come(self.tick, int(arrivals[self.tick]))
            for came, count, tries in self._due.pop(self.tick, ()):
                self._to_retry -= count
                self.web.line.put(came, count, tries)
            self._serve()
            self.tick += 1
        self._sum_up()
        return self.outcome

    @property
    def now(self) -> float:
        """Seconds, at the end of this tick."""
        return (self.tick + 1) * self.tick_ms / 1000

    @property
    def _in_system(self) -> int:
        """All who came and do not know their outcome."""
        return self._door + self._to_retry + self._waiting + self._unanswered.total

    @property
    def _waiting(self) -> int:
        """All who are in line, or in a batch of which nobody was told yet."""
        return self._line.total + self.turns.waiting

    @property
    def _door(self) -> int:
        return self.web.line.total + self.gate.line.total

    def _arrivals(self) -> list[int]:
        """How many come in each tick."""
        if self.crowd.connections:
            return [min(self.crowd.connections, self.crowd.buyers)]
        ticks = max(1, round(self.crowd.window_seconds * 1000 / self.tick_ms))
        return [int(n) for n in self._random.multinomial(self.crowd.buyers, np.full(ticks, 1 / ticks))]

    def _come(self, tick: int, count: int) -> None:
        self.outcome.sent += count
        self.web.line.put(tick, count)

    def _serve(self) -> None:
        """One tick: the cores are shared out by what each station could do, and each does as much as it got."""
        told = self.outcome
        told.in_system_ticks += self._in_system
        told.door_max, told.line_max = max(told.door_max, self._door), max(told.line_max, self._waiting)
        costs, repeats = self.costs, self._repeats
        self.web.cost_ms = costs.web_refuse_ms if repeats else costs.web_accept_ms
        self.generator.cost_ms = costs.rest_refuse_ms if repeats else costs.rest_ms
        self.gate.cost_ms = self._gate_ms()
        there = min(self.gate.line.total, self.shop.at_once)
        round_ms = self.gate.cost_ms * there + self.costs.fsync_ms if there else 0.0
        self._begin_turns(round_ms)
        wants = {station: station.wants(self.tick_ms) for station in self.stations}
        wants[self.gate] = self.gate.wants(self.tick_ms, self._gate_speed(there))
        wants[self.settling] = max(0.0, min(self.settling.wants(self.tick_ms), self._turns_ms * self.turns.lines))
        got = share_out(wants, self._cores, self.tick_ms)
        for station, granted in got.items():
            for pool, share in station.pools.items():
                self._pool_used[pool] += granted * share
        self._pass_web(self.web.serve(got[self.web]))
        # What keeps it from more is its disk at its best: the fewer there are, the more often it is asked.
        self._pass_gate(self.gate.serve(got[self.gate], self._gate_speed(self.shop.at_once)))
        self._pass_settling(self.settling.serve(got[self.settling]), got[self.settling], round_ms)
        self._tell_outcomes()
        self.live.serve(got[self.live])
        self._tell_listeners()
        self._send(self.generator.serve(got[self.generator]))
        if self.tick % max(1, round(SAMPLE_SECONDS * 1000 / self.tick_ms)) == 0:
            told.samples.append(Sample(self.now, self._door, self._waiting, told.told))

    def _gate_ms(self) -> float:
        """What a request costs the busiest thread of Redis."""
        whole = self.costs.gate_accept_ms
        if self.shop.shards == 1:
            return whole
        # Of the sales' shards each sees its sales, velocity's everybody, and users are everywhere.
        of_sales = 1 / min(self.crowd.sales, max(1, self.shop.shards - 1))
        busiest = 1.0 if self.shop.velocity else of_sales
        return whole * SHARD_SHARE * (busiest + 1 / self.shop.shards)

    def _gate_speed(self, together: int) -> float:
        """The share of Redis's time in which it does not wait for its disk, once for so many together."""
        work_ms = max(1, together) * self.gate.cost_ms
        return work_ms / (work_ms + self.costs.fsync_ms) if work_ms else 1.0

    def _send(self, count: int) -> None:
        """The load generator has read so many answers, and sends as many requests."""
        for _ in self.generator.line.take(count):
            pass
        if self.now < self.crowd.send_seconds:
            self._come(self.tick + 1, min(count, self.crowd.buyers - self.outcome.sent))

    @property
    def _repeats(self) -> bool:
        """Whether web says by itself that the sales are sold out."""
        return self.now < self._repeated_until

    def _pass_web(self, count: int) -> None:
        for came, part, tries in self.web.line.take(count):
            if self._repeats:
                self._refused += part
                self._answer(part)
                self._tell(SOLD_OUT, came, part)
            else:
                self.gate.line.put(came, part, tries)

    def _refuse(self, came: int, count: int) -> None:
        """The gate says that the sale is sold out, to so many."""
        passed, crowd = self.now - self._window_at, CROWD * self.shop.web_processes * self.crowd.sales
        if passed > CROWD_SECONDS:
            self._is_crowd = self._refused >= crowd and passed <= 2 * CROWD_SECONDS
            self._window_at, self._refused = self.now, 0
        self._refused += count
        if self.shop.repeats and (self._is_crowd or self._refused >= crowd):
            self._repeated_until = self.now + REPEATED_SECONDS
        self._tell(SOLD_OUT, came, count)

    def _answer(self, count: int) -> None:
        """The load generator has so many answers to read."""
        if self.crowd.connections:
            self.generator.line.put(self.tick, count)

    def _pass_gate(self, count: int) -> None:
        for came, part, tries in self.gate.line.take(count):
            if self._is_sold_out:
                self._answer(part)
                self._refuse(came, part)
                continue
            room = max(0, self.shop.line_max * self.crowd.sales - self._waiting)
            admitted = min(part, room)
            self._admit(came, admitted)
            if not self.crowd.waits:
                self._answer(admitted)
            if part > admitted:
                self._turn_away(came, part - admitted, tries)

    def _admit(self, came: int, count: int) -> None:
        told = self.outcome
        if not count:
            return
        told.first_admitted = told.first_admitted or self.now
        told.last_admitted = self.now
        told.admitted += count
        if self.shop.workers:
            self._line.put(came, count)
        else:
            self._tell(ADMITTED, came, count)

    def _turn_away(self, came: int, count: int, tries: int) -> None:
        self._answer(count)
        if tries + 1 >= self.crowd.tries_max:
            self._tell(LINE_FULL, came, count)
            return
        ticks = max(1, round(RETRY_SECONDS * 1000 / self.tick_ms))
        for later, part in enumerate(self._random.multinomial(count, np.full(ticks, 1 / ticks))):
            if part:
                self._due[self.tick + ticks + later].append((came, int(part), tries + 1))
        self._to_retry += count

    def _begin_turns(self, round_ms: float) -> None:
        """The workers go on: what they are done with is told, and who waits is taken."""
        begun = self.turns.begun
        self._turns_ms = self.turns.begin(self._line, round_ms, self.tick_ms)
        begun = self.turns.begun - begun
        self.gate.owe(begun * self.costs.turn_redis_ms)
        self.web.owe(begun * self.costs.wake_ms)
        told = self.turns.told
        self.gate.owe(told.total * self.costs.settle_redis_ms)
        for came, part, _ in told.take(told.total):
            sold = min(part, self._sold_untold)
            self._sold_untold -= sold
            self._unanswered.put(came, sold, 1)
            self._unanswered.put(came, part - sold)
            self.web.owe(part * self.costs.tell_ms)
            self._stock_moved |= sold > 0
        if not self._units and not self.turns.committed.total:
            self._is_sold_out = True

    def _pass_settling(self, count: int, granted_ms: float, round_ms: float) -> None:
        """A batch is committed as a whole, and told afterwards."""
        if not self.turns.end(count, granted_ms, round_ms):
            return
        self._sold_untold = min(self.turns.committed.total, self._units)
        self._units -= self._sold_untold
        if self._sold_untold:
            self.outcome.last_sold = self.now

    def _tell_outcomes(self) -> None:
        """Whom web has told, they know: of what it owes, the last part is for those who wait."""
        untold = ceil(self.web.owed_ms / self.costs.tell_ms - EPSILON) if self.costs.tell_ms else 0
        for came, part, is_sold in self._unanswered.take(max(0, self._unanswered.total - untold)):
            if self.crowd.waits:
                self._answer(part)
            self._tell(CONFIRMED if is_sold else REJECTED, came, part)

    def _tell_listeners(self) -> None:
        """Who listens hears the stock, and an update that is late is left out."""
        if self._stock_moved and self.live.is_paid_up and self.now >= self._update_due:
            self.live.owe(self.crowd.listening * self.crowd.buyers * self.costs.frame_ms)
            self._stock_moved, self._update_due = False, self.now + UPDATE_SECONDS
        elif not self.live.is_paid_up:
            self.outcome.last_heard = self.now

    def _tell(self, what: str, came: int, count: int) -> None:
        if count:
            self.outcome.counts[what] += count
            self.outcome.waits[what][self.tick + 1 - came] += count
            self.outcome.last_told = self.now

    def _sum_up(self) -> None:
        seconds_ms = max(self.outcome.last_told, self.tick_ms / 1000) * 1000
        busy = {
            station.name: station.busy_ms / station.servers / seconds_ms for station in self.stations if station.servers
        }
        for pool, count in self.shop.cores.items():
            busy[f"cores ({pool})"] = self._pool_used[pool] / count / seconds_ms
        self.outcome.busy, self.outcome.turns = busy, self.turns.begun
