"""A rush, simulated in ticks: web, gate, line, worker and live, each with what a request costs it.

In ticks of some milliseconds and not request by request: what waits is counted in cohorts, so a million buyers take
seconds and not minutes, and a tick is far below every wait that is of interest. Counts stay whole numbers, and every
cohort knows when it came: nobody is lost in rounding. Sales of one crowd are alike, and so are machines of a kind.
"""

from collections import defaultdict

import numpy as np

from bench.calibration import Costs
from bench.outcome import ADMITTED, CONFIRMED, LINE_FULL, REJECTED, SOLD_OUT, Outcome, Sample
from bench.shop import Crowd, Shop
from bench.stations import Fifo, Station, share_out
from ops.errors import OpsError

SIMULATED_SECONDS_MAX = 7_200
# Who is told that the line is full comes again after one to two seconds.
RETRY_SECONDS = 1.0
# Ten updates of the stock a second, at most.
UPDATE_SECONDS = 0.1
# How old web's copy of a sale may be.
COPY_SECONDS = 0.5
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
        self.generator.cost_ms = costs.generator_ms
        self.web = Station("web", shop.web_processes, {shop.web: 1.0})
        self.gate = Station("Redis", 1, {shop.redis: 1.0})
        self.live = Station("live", shop.live_processes, {shop.web: 1.0})
        self.live.cost_ms = costs.frame_ms
        self.settle_ms = costs.settle_worker_ms + costs.settle_postgres_ms
        parts: defaultdict[str, float] = defaultdict(float)
        parts[shop.worker] += costs.settle_worker_ms / self.settle_ms if self.settle_ms else 1
        parts[shop.postgres] += costs.settle_postgres_ms / self.settle_ms if self.settle_ms else 0
        # One worker at a time has a sale, and asks PostgreSQL meanwhile: together they use one core for it.
        self.settling = Station("settling", min(shop.workers, crowd.sales), parts)
        self.settling.cost_ms = self.settle_ms
        self.stations = [self.generator, self.web, self.gate, self.live, self.settling]
        self._line, self._decided, self._batch_wait_ms = Fifo(), Fifo(), 0.0
        self._units = crowd.units * crowd.sales
        self._sold_out_at = float("inf") if self._units else float("-inf")
        self._due: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self._to_retry = 0
        self._update_due, self._stock_moved = 0.0, False
        self._random = np.random.default_rng(crowd.seed)
        self._pool_used: defaultdict[str, float] = defaultdict(float)

    def run(self) -> Outcome:
        """Raises OpsError where it would not end within hours."""
        arrivals = self._arrivals()
        while self.tick < len(arrivals) or self._in_system or self.generator.line.total or not self.live.is_idle:
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
        return self._door + self._to_retry + self._waiting + self.live.line.total

    @property
    def _waiting(self) -> int:
        """All who are in line, or in a batch that is not committed yet."""
        return self._line.total + self.settling.line.total + self._decided.total

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
        self._take_batch()
        is_sold_out = self.now > self._sold_out_at
        self.web.cost_ms = self.costs.web_refuse_ms if is_sold_out else self.costs.web_accept_ms
        self.gate.cost_ms = self._gate_ms(is_sold_out=is_sold_out)
        speed = 1.0 if is_sold_out else self._gate_speed(min(self.gate.line.total, self.shop.threads))
        wants = {station: station.wants(self.tick_ms) for station in self.stations}
        wants[self.gate] = self.gate.wants(self.tick_ms, speed)
        wants[self.settling] = max(0.0, min(wants[self.settling], self.settling.servers * self._batch_ms()))
        got = share_out(wants, self.shop.cores, self.tick_ms)
        for station, granted in got.items():
            for pool, share in station.pools.items():
                self._pool_used[pool] += granted * share
        self._pass_web(self.web.serve(got[self.web]))
        # What keeps it from more is its disk at its best: the fewer wait, the more often it is asked.
        best = 1.0 if is_sold_out else self._gate_speed(self.shop.threads)
        self._pass_gate(self.gate.serve(got[self.gate], best))
        self._pass_settling(self.settling.serve(got[self.settling]))
        self._pass_live(self.live.serve(got[self.live]))
        self._send(self.generator.serve(got[self.generator]))
        if self.tick % max(1, round(SAMPLE_SECONDS * 1000 / self.tick_ms)) == 0:
            told.samples.append(Sample(self.now, self._door, self._waiting, told.told))

    def _gate_ms(self, *, is_sold_out: bool) -> float:
        """What a request costs the busiest thread of Redis."""
        whole = self.costs.gate_refuse_ms if is_sold_out else self.costs.gate_accept_ms
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

    def _pass_web(self, count: int) -> None:
        refuses = self.shop.refuses_at_web and self.now > self._sold_out_at + COPY_SECONDS
        for came, part, tries in self.web.line.take(count):
            if refuses:
                self._tell(SOLD_OUT, came, part)
            else:
                self.gate.line.put(came, part, tries)

    def _pass_gate(self, count: int) -> None:
        if self.crowd.connections:
            self.generator.line.put(self.tick, count)
        for came, part, tries in self.gate.line.take(count):
            if self.now > self._sold_out_at:
                self._tell(SOLD_OUT, came, part)
                continue
            room = max(0, self.shop.line_max * self.crowd.sales - self._waiting)
            admitted = min(part, room)
            self._admit(came, admitted)
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
        if tries + 1 >= self.crowd.tries_max:
            self._tell(LINE_FULL, came, count)
            return
        ticks = max(1, round(RETRY_SECONDS * 1000 / self.tick_ms))
        for later, part in enumerate(self._random.multinomial(count, np.full(ticks, 1 / ticks))):
            if part:
                self._due[self.tick + ticks + later].append((came, int(part), tries + 1))
        self._to_retry += count

    def _take_batch(self) -> None:
        """The workers take what waits, once they are done with what they had."""
        if self.settling.line.total or not self._line.total:
            return
        count = min(self._line.total, self.shop.batch_max * int(self.settling.servers))
        for came, part, _ in self._line.take(count):
            self.settling.line.put(came, part)
        self._batch_wait_ms = self.costs.settle_batch_ms

    def _batch_ms(self) -> float:
        """What is left of this tick for a batch's requests, after the wait that the batch itself is."""
        waited = min(self.tick_ms, self._batch_wait_ms)
        self._batch_wait_ms -= waited
        self.settling.busy_ms += waited * self.settling.servers if self.settling.line.total else 0.0
        return self.tick_ms - waited

    def _pass_settling(self, count: int) -> None:
        """A batch is told when the whole of it is committed."""
        for came, part, _ in self.settling.line.take(count):
            self._decided.put(came, part)
        batch = self._decided.total
        if self.settling.line.total or not batch:
            return
        for came, part, _ in self._decided.take(batch):
            sold = min(part, self._units)
            self._units -= sold
            if sold:
                self.outcome.last_sold = self.now
            self.live.line.put(came, sold, 1)
            self.live.line.put(came, part - sold)
            self._stock_moved |= sold > 0
        self.gate.owe(batch * self.costs.settle_redis_ms)
        if not self._units:
            self._sold_out_at = min(self._sold_out_at, self.now)

    def _pass_live(self, count: int) -> None:
        """Who waits for an outcome hears it; who listens hears the stock, and an update that is late is left out."""
        for came, part, is_sold in self.live.line.take(count):
            self._tell(CONFIRMED if is_sold else REJECTED, came, part)
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
        self.outcome.busy = busy
