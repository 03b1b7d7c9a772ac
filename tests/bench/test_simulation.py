"""The simulation obeys what every queue obeys, and does what the shop's own code does: turns, and words for a crowd."""

from dataclasses import replace

import pytest

from bench.calibration import Costs, calibrate
from bench.findings import BENCHMARKS, CONNECTIONS, predict_settling, predict_whole
from bench.outcome import LINE_FULL, REJECTED, SOLD_OUT, Outcome
from bench.shop import Crowd, Shop, machines, one_machine
from bench.simulation import Simulation
from bench.stations import Fifo, Station, share_out
from bench.turns import Turns
from ops.errors import OpsError

TICK_MS = 10.0
NOTHING = Costs(*([0.0] * 19))


@pytest.fixture(scope="module")
def costs() -> Costs:
    return calibrate(BENCHMARKS)[0]


def simulated(shop: Shop, costs: Costs, crowd: Crowd) -> Outcome:
    return Simulation(shop, costs, crowd, tick_ms=TICK_MS).run()


def all_waits(outcome: Outcome) -> int:
    """Ticks that everybody together has waited."""
    return sum(ticks * count for waits in outcome.waits.values() for ticks, count in waits.items())


class TestEverybodyIsToldOnce:
    @pytest.mark.parametrize(
        ("shop", "crowd"),
        [
            (one_machine(), Crowd(5_000, 200, window_seconds=1)),
            (machines(4, 4), Crowd(20_000, 20_000, window_seconds=2)),
            (machines(8, 4, shards=4, sales=3), Crowd(9_000, 100, window_seconds=1, sales=3)),
            (machines(2, 4), Crowd(20_000, 10, window_seconds=3)),
            (machines(2, 4, repeats=False), Crowd(20_000, 10, window_seconds=3)),
            (one_machine(4, line_max=20, web_processes=3), Crowd(5_000, 5_000, window_seconds=1)),
            (one_machine(4, line_max=20, web_processes=3), Crowd(5_000, 5_000, window_seconds=1, tries_max=1)),
            (one_machine(), Crowd(3_000, 500, connections=CONNECTIONS)),
            (one_machine(), Crowd(3_000, 500, connections=CONNECTIONS, waits=True)),
        ],
        ids=[
            "sold out",
            "enough",
            "cluster",
            "web repeats",
            "gate refuses",
            "line full",
            "given up",
            "closed loop",
            "closed loop of waits",
        ],
    )
    def test_every_request_has_one_outcome_and_what_waits_is_what_little_says(
        self, costs: Costs, shop: Shop, crowd: Crowd
    ) -> None:
        outcome = simulated(shop, costs, crowd)

        assert outcome.sent == outcome.told == crowd.buyers
        assert outcome.counts["confirmed"] == min(crowd.units * crowd.sales, outcome.admitted)
        assert outcome.counts[REJECTED] == outcome.admitted - outcome.counts["confirmed"]
        assert sum(count for waits in outcome.waits.values() for count in waits.values()) == crowd.buyers
        # Little's law: who is there, summed over time, is how long everybody waited; counted in two places.
        assert outcome.in_system_ticks == all_waits(outcome) > 0

    def test_a_line_that_is_full_sends_buyers_back_and_they_come_again(self, costs: Costs) -> None:
        shop = one_machine(4, line_max=20, web_processes=3)
        crowd = Crowd(5_000, 5_000, window_seconds=1)

        patient = simulated(shop, costs, crowd)
        impatient = simulated(shop, costs, replace(crowd, tries_max=1))

        assert patient.counts["confirmed"] == 5_000
        assert max(patient.line_max, impatient.line_max) <= 20
        assert 0 < impatient.counts[LINE_FULL] < 5_000

    def test_a_crowd_that_no_shop_could_answer_is_an_error_and_no_endless_loop(self, costs: Costs) -> None:
        slow = replace(costs, web_accept_ms=1e9)

        with pytest.raises(OpsError, match="take over"):
            Simulation(one_machine(), slow, Crowd(10, 10), tick_ms=1_000).run()


class TestQueuesWithFormulas:
    @pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
    def test_one_server_and_random_arrivals_wait_as_long_as_the_formula_says(self, load: float) -> None:
        """M/D/1: the mean time in the system is D (1 + load / (2 (1 - load)))."""
        ticks = 60_000
        shop = one_machine(1, web_processes=1, repeats=False)
        costs = replace(NOTHING, web_accept_ms=TICK_MS)
        crowd = Crowd(int(load * ticks), 0, window_seconds=ticks * TICK_MS / 1000, listening=0)

        outcome = simulated(shop, costs, crowd)

        assert outcome.counts == {SOLD_OUT: crowd.buyers}
        assert all_waits(outcome) / crowd.buyers == pytest.approx(1 + load / (2 * (1 - load)), rel=0.06)
        assert outcome.busy["web"] == pytest.approx(load, rel=0.02)

    def test_over_its_capacity_a_station_serves_its_capacity_and_is_named_as_the_bottleneck(self) -> None:
        costs = replace(NOTHING, web_accept_ms=0.5, gate_accept_ms=1.25)

        outcome = simulated(machines(4, 4, repeats=False), costs, Crowd(4_000, 0, window_seconds=1))

        assert outcome.last_told == pytest.approx(4_000 * 1.25 / 1000, rel=0.01)
        assert outcome.bottleneck == "Redis"

    def test_cores_are_shared_out_until_nobody_could_have_more(self) -> None:
        small, large, other = (Station(name, 4, {"all": 1.0}) for name in ("small", "large", "other"))
        alone = Station("alone", 1, {"elsewhere": 1.0})

        got = share_out({small: 2.0, large: 30.0, other: 30.0, alone: 5.0}, {"all": 2, "elsewhere": 1}, 10.0)

        assert got == pytest.approx({small: 2.0, large: 9.0, other: 9.0, alone: 5.0})

    def test_a_station_of_two_processes_gets_twice_what_one_of_one_gets(self) -> None:
        web, worker = Station("web", 2, {"all": 1.0}), Station("worker", 1, {"all": 1.0})

        assert share_out({web: 20.0, worker: 10.0}, {"all": 2}, 10.0) == pytest.approx({web: 40 / 3, worker: 20 / 3})

    def test_what_is_owed_is_paid_before_anybody_is_served(self) -> None:
        station = Station("owing", 1, {"all": 1.0})
        station.cost_ms = 1.0
        station.line.put(0, 10)
        station.owe(25.0)

        served = []
        for _ in range(4):
            served.append(station.serve(10.0))
            assert sum(count for _, count, _ in station.line.take(served[-1])) == served[-1]

        assert served == [0, 0, 5, 5]


class TestTurns:
    SETTLING = replace(NOTHING, settle_worker_ms=0.04, settle_beside_ms=0.016, settle_postgres_ms=0.03)

    def test_a_worker_tells_and_reads_while_postgresql_writes(self) -> None:
        """24 µs of deciding and 30 of writing a request; 16 more are beside the writing, but at a turn's two ends."""
        one_after_the_other = replace(self.SETTLING, settle_beside_ms=0.0)

        rates = [predict_settling(costs, 80_000) for costs in (self.SETTLING, one_after_the_other)]

        assert rates == pytest.approx([16_000 / (16 * 0.054 + 0.016), 16_000 / (16 * 0.07)], rel=0.01)

    def test_what_takes_longer_beside_postgresql_is_waited_for(self) -> None:
        slow = replace(self.SETTLING, settle_worker_ms=0.064, settle_beside_ms=0.04)

        # The first batch reads, and the last one tells, for half of the forty.
        assert predict_settling(slow, 80_000) == pytest.approx(
            16_000 / (16 * 0.024 + 14 * 0.04 + 2 * 0.03 + 0.04), rel=0.01
        )

    def test_a_worker_that_has_more_before_it_wakes_itself(self) -> None:
        costs = replace(self.SETTLING, turn_worker_ms=20.0, turn_postgres_ms=12.0, wake_ms=16.0)

        assert predict_settling(costs, 80_000) == pytest.approx(16_000 / (16 * 0.054 + 0.016 + 0.048), rel=0.01)

    @pytest.mark.parametrize(("round_ms", "waits_ms"), [(0.0, 20.0), (20.0, 60.0)])
    def test_a_turn_asks_redis_several_things_and_in_a_rush_waits_for_a_round_and_a_half_each_time(
        self, round_ms: float, waits_ms: float
    ) -> None:
        """Two questions before it has read the line; both write, so that of an idle Redis they wait for its disk."""
        line = Fifo()
        turns = Turns(one_machine(), replace(self.SETTLING, fsync_ms=10.0), sales=1)
        line.put(0, 5)

        ticks = 0
        while not turns.begin(line, round_ms, TICK_MS):
            ticks += 1

        # To a worker at rest the wake-up has to come first: one question more, and one that writes.
        assert ticks * TICK_MS == waits_ms + max(10.0, 1.5 * round_ms)

    def test_the_longer_a_turn_the_more_it_settles(self, costs: Costs) -> None:
        slow = replace(costs, fsync_ms=2 * costs.fsync_ms)

        before, after = predict_whole(costs, seconds=3), predict_whole(slow, seconds=3)

        assert after.admitted / after.turns > 1.3 * before.admitted / before.turns

    def test_no_batch_is_told_before_the_whole_of_it_is_committed(self) -> None:
        shop, line = one_machine(), Fifo()
        turns = Turns(shop, self.SETTLING, sales=1)
        turns.station.cost_ms = 0.0
        line.put(0, 1_000)

        assert turns.begin(line, 0.0, TICK_MS) == TICK_MS
        assert not turns.end(400, TICK_MS, 0.0)
        turns.begin(line, 0.0, TICK_MS)
        assert (turns.told.total, turns.waiting) == (0, 1_000)
        assert turns.end(600, TICK_MS, 0.0)
        turns.begin(line, 0.0, TICK_MS)
        assert (turns.told.total, turns.waiting) == (1_000, 0)


class TestWhoeverWaits:
    def test_web_tells_them_and_lets_in_as_many_fewer(self) -> None:
        """Two processes, half a millisecond to let somebody in and one to tell them."""
        costs = replace(NOTHING, web_accept_ms=0.5, tell_ms=1.0)

        outcome = simulated(one_machine(8, web_processes=2), costs, Crowd(4_000, 4_000, window_seconds=1, listening=0))

        assert outcome.last_told == pytest.approx(4_000 * 1.5 / 2 / 1000, rel=0.02)
        assert outcome.bottleneck == "web"

    def test_they_know_one_after_the_other_and_not_all_when_the_last_one_is_told(self) -> None:
        costs = replace(NOTHING, tell_ms=10.0)

        outcome = simulated(
            one_machine(8, web_processes=1), costs, Crowd(100, 100, window_seconds=TICK_MS / 1000, listening=0)
        )

        assert outcome.wait_ms(0.5) == pytest.approx(500, abs=5 * TICK_MS)
        assert outcome.wait_ms(1.0) == pytest.approx(1_000, abs=5 * TICK_MS)

    def test_the_next_one_over_their_connection_comes_when_they_know(self, costs: Costs) -> None:
        crowd = Crowd(2_000, 2_000, connections=CONNECTIONS, listening=0)
        # Longer than whoever leaves needs to come again, however fast the machine that was measured.
        slow = replace(costs, turn_postgres_ms=20 * TICK_MS)

        leaves, waits = (simulated(one_machine(), slow, replace(crowd, waits=waits)) for waits in (False, True))

        assert waits.line_max <= CONNECTIONS < leaves.line_max
        assert waits.last_told > leaves.last_told

    def test_live_is_busy_with_those_who_listen_alone(self, costs: Costs) -> None:
        crowd = Crowd(2_000, 2_000, window_seconds=1, listening=0)

        alone, listened_to = (simulated(one_machine(4), costs, replace(crowd, listening=each)) for each in (0, 0.5))

        assert alone.busy["live"] == 0
        assert listened_to.busy["live"] > 0

    def test_live_holds_nobody_up_however_busy_it_is(self) -> None:
        costs = replace(NOTHING, web_accept_ms=0.1, frame_ms=1.0)

        outcome = simulated(machines(2, 4), costs, Crowd(2_000, 2_000, window_seconds=2, listening=1))

        assert outcome.busy["live"] > 0.9
        assert outcome.bottleneck == "none"


class TestACrowdBeforeASoldOutSale:
    @pytest.mark.parametrize(("repeats", "share"), [(True, (0.0, 0.2)), (False, (0.9, 1.0))])
    def test_redis_hears_of_few_of_them_where_web_repeats_what_it_said(
        self, costs: Costs, repeats: bool, share: tuple[float, float]
    ) -> None:
        shop = machines(4, 4, repeats=repeats)

        # A little more than Redis could refuse one by one.
        seconds = 0.95 * 40_000 * costs.gate_accept_ms / 1000

        outcome = simulated(shop, costs, Crowd(40_000, 0, window_seconds=seconds, listening=0))

        assert outcome.counts == {SOLD_OUT: 40_000}
        assert share[0] <= outcome.busy["Redis"] <= share[1]

    def test_none_of_too_many_processes_sees_a_crowd(self, costs: Costs) -> None:
        """One Redis refuses too few in a second for each of so many to hear fifty."""
        more, a_second = 1.2, 1000 / costs.gate_accept_ms
        shop = replace(machines(8, 4), web_processes=round(more * a_second / 50))

        outcome = simulated(shop, costs, Crowd(40_000, 0, window_seconds=40_000 / more / a_second, listening=0))

        assert outcome.bottleneck == "Redis"


def test_a_cluster_that_leaves_no_machine_for_web_is_refused() -> None:
    with pytest.raises(OpsError, match="too few"):
        machines(4, 4, shards=40)
