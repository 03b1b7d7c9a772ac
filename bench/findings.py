"""What the model is asked: shops of many sizes and their crowds, a million buyers in a minute, what was measured."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.calibration import OF_PROCESSES, SHOP, Costs, Figure, calibrate, median_of
from bench.outcome import Outcome
from bench.shop import Crowd, Shop, machines, one_machine
from bench.simulation import Simulation

BENCHMARKS = Path(__file__).parents[1] / "docs" / "benchmarks"

CORES = 4
MACHINES_MAX = 64
CROWDS = (1_000, 10_000, 50_000, 100_000, 1_000_000)
UNITS, WINDOW_SECONDS = 200, 10.0
MILLION, MILLION_UNITS, MINUTE = 1_000_000, 1_000, 60.0
# "In a minute": who comes in the last second of it is answered within so many more.
GRACE_SECONDS = 5.0
SHARDS, SALES = 9, 8
# As the benchmarks do it: see `accept`, `settle`, `whole`, `burst` and `answered`.
CONNECTIONS, ENDLESS, BURSTS, VISITORS = 64, 10_000_000, (2_000, 50_000), (32, 256)
TICK_MS = 1.0
# A prediction may be off by so much.
TOLERANCE = 0.2


# What of the costs each prediction rests on, beside those without which there is no model.
SETTLING = ("settle_worker_ms", "settle_beside_ms", "settle_postgres_ms", "settle_redis_ms", "turn_worker_ms")
WHOLE = (*SETTLING, "fsync_ms", "turn_postgres_ms", "turn_redis_ms", "wake_ms", "idle_ms")
BURST = (*WHOLE, "web_refuse_ms", "rest_rush_ms")
ANSWERED = (*WHOLE, "tell_ms")


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was measured, and what the model says of it. `measured` is None until it is.

    `assumed` are the costs that it rests on and that nobody has measured: until then it is no prediction. What is not
    `held` to be right says where the model is wrong, where it is.
    """

    name: str
    unit: str
    predicted: float
    measured: float | None
    assumed: tuple[str, ...] = ()
    held: bool = True

    @property
    def off(self) -> float:
        """By which share of the measured figure the model is off."""
        return self.predicted / self.measured - 1 if self.measured else 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """A way to grow: the shop by its number of machines, and in how many sales the units are."""

    name: str
    shop: Callable[[int], Shop]
    sales: int = 1
    machines_min: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """A shop, and what came of a crowd there. `machines` is 0 where not even the most of them were enough."""

    name: str
    shop: Shop
    outcome: Outcome
    machines: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """All that the page is made of."""

    figures: list[Figure]
    checks: list[Check]
    crowds: dict[str, dict[int, Answer]]
    capacity: list[Answer]
    million: list[Answer]
    costs: Costs


def predict_accepting(costs: Costs, processes: int, *, seconds: float = 4.0) -> float:
    """Requests accepted a second on one machine of two cores, as `accept` measures them; from CPU costs alone."""
    crowd = Crowd(ENDLESS, ENDLESS, connections=CONNECTIONS, send_seconds=seconds, listening=0)
    shop = one_machine(web_processes=processes, workers=0)
    return Simulation(shop, costs, crowd, tick_ms=TICK_MS).run().admitted_per_second


def predict_settling(costs: Costs, line: int) -> float:
    """Requests settled a second from a line that stands there already, as `settle` measures them."""
    at_once = replace(costs, web_accept_ms=0, gate_accept_ms=0, idle_ms=0, tell_ms=0, frame_ms=0)
    crowd = Crowd(line, line, window_seconds=TICK_MS / 1000, listening=0)
    return line / Simulation(one_machine(), at_once, crowd, tick_ms=TICK_MS).run().last_sold


def predict_whole(costs: Costs, *, seconds: float = 8.0) -> Outcome:
    """What is accepted and settled, everything on two cores, as `whole` measures it."""
    return _unheard(costs, Crowd(ENDLESS, ENDLESS, connections=CONNECTIONS, send_seconds=seconds, listening=0))


def predict_burst(costs: Costs, buyers: int, units: int) -> Outcome:
    """What comes of a burst, everything on two cores, as `burst` measures it."""
    costs = replace(costs, rest_ms=costs.rest_rush_ms, rest_refuse_ms=costs.rest_rush_ms)
    return _unheard(costs, Crowd(buyers, units, connections=CONNECTIONS, listening=0))


def predict_answered(costs: Costs, visitors: int, *, seconds: float = 3.0) -> float:
    """Outcomes a second of so many who wait for theirs and come again, as `answered` measures them."""
    crowd = Crowd(ENDLESS, ENDLESS, connections=visitors, send_seconds=seconds, waits=True, listening=0)
    outcome = Simulation(one_machine(), costs, crowd, tick_ms=TICK_MS).run()
    return outcome.told / outcome.last_told


def _unheard(costs: Costs, crowd: Crowd) -> Outcome:
    """On one machine, where everybody has a 202 and nobody waits for the outcome."""
    return Simulation(one_machine(), replace(costs, tell_ms=0), crowd, tick_ms=TICK_MS).run()


def checks(folder: Path) -> list[Check]:
    """What the benchmarks measured beside what their costs come to."""
    costs, figures = calibrate(folder)
    a_second, known = "a second", "seconds"
    whole = predict_whole(costs)

    def assumed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each.name for each in figures if each.missing and each.name in names)

    found = [
        *(check_accepting(folder, processes) for processes in OF_PROCESSES),
        Check(
            "settled from a line of 100,000, one worker",
            a_second,
            predict_settling(costs, 100_000),
            _measured(folder, "settle", "", "one worker settles"),
            assumed(SETTLING),
        ),
        Check(
            "accepted and settled, everything running",
            a_second,
            whole.admitted / whole.last_told,
            _measured(folder, "whole", "", "ours, settled"),
            assumed(WHOLE),
        ),
    ]
    for buyers in BURSTS:
        burst = predict_burst(costs, buyers, UNITS)
        for what, seconds in (("the last unit is sold", burst.last_sold), ("the last refusal", burst.last_told)):
            measured = _measured(folder, "burst", f"{buyers:,} buyers: {what}", "202")
            name = f"{UNITS} units, {buyers:,} buyers at once: {what}"
            found.append(Check(name, known, seconds, measured, assumed(BURST)))
    for visitors in VISITORS:
        measured = _measured(folder, "answered", f"{visitors} buyers, wrk", "Prefer: wait")
        name = f"{visitors} buyers who wait and come again: outcomes"
        found.append(Check(name, a_second, predict_answered(costs, visitors), measured, assumed(ANSWERED), held=False))
    return [*found, *_parts_of_whole(folder, costs, whole, assumed(WHOLE))]


def _parts_of_whole(folder: Path, costs: Costs, whole: Outcome, assumed: tuple[str, ...]) -> list[Check]:
    """How many a turn settles, and the CPU of a purchase by where it goes."""
    a_turn = whole.admitted / whole.turns
    cpu_ms = {
        "web": costs.web_accept_ms + costs.wake_ms / a_turn,
        "worker": costs.settle_worker_ms + costs.turn_worker_ms / a_turn,
        "PostgreSQL": costs.settle_postgres_ms + costs.turn_postgres_ms / a_turn,
        "Redis": costs.gate_accept_ms + costs.settle_redis_ms + costs.turn_redis_ms / a_turn,
    }
    turn = _measured(folder, "whole", "settled in one turn", "ours, settled")
    return [
        Check("of everything running: settled in one turn", "purchases", a_turn, turn, assumed, held=False),
        *(
            Check(
                f"of everything running: {name}'s CPU a purchase",
                "ms",
                used,
                _measured(folder, "whole", "CPU a purchase of ours", name),
                assumed,
                held=False,
            )
            for name, used in cpu_ms.items()
        ),
    ]


def check_accepting(folder: Path, processes: int) -> Check:
    """The rate with so many web processes, which is predicted from what a request costs them."""
    name = OF_PROCESSES[processes]
    rate = predict_accepting(calibrate(folder, processes=processes)[0], processes)
    measured = _measured(folder, "accept", f"{name}, {CONNECTIONS} connections", f"{SHOP}, {name}")
    return Check(f"accepted, {name}", "a second", rate, measured)


def _measured(folder: Path, name: str, table: str, row: str) -> float | None:
    try:
        return median_of(folder, name, table, row)
    except LookupError:
        return None


def cases() -> list[Case]:
    """The ways to meet a million buyers: as the shop is, and as it was before web repeated refusals by itself."""
    of, asked = f"a cluster of {SHARDS} shards, {SALES} sales", "every refusal by the gate"
    return [
        Case("one Redis, one sale", lambda n: machines(n, CORES)),
        Case(of, lambda n: machines(n, CORES, shards=SHARDS, sales=SALES), SALES, 5),
        Case(f"one Redis, one sale, {asked}", lambda n: machines(n, CORES, repeats=False)),
        Case(
            f"{of}, {asked}, no velocity",
            lambda n: machines(n, CORES, shards=SHARDS, sales=SALES, repeats=False, velocity=False),
            SALES,
            5,
        ),
    ]


def meet_million(case: Case, costs: Costs) -> Answer:
    """The fewest machines that answer everybody in time; with the most of them where none of the tried are enough.

    Twice as many each time: more are not always better, since refusals that too many processes hear make no crowd.
    """
    crowd = Crowd(MILLION, MILLION_UNITS // case.sales, window_seconds=MINUTE, sales=case.sales)

    def come(count: int) -> Outcome:
        return _simulated(case.shop(count), costs, crowd)

    def is_met(outcome: Outcome) -> bool:
        return outcome.last_told <= MINUTE + GRACE_SECONDS

    few, count = case.machines_min - 1, case.machines_min
    while not is_met(found := come(count)):
        if count == MACHINES_MAX:
            return Answer(case.name, case.shop(count), found)
        few, count = count, min(2 * count, MACHINES_MAX)
    while count - few > 1:
        middle = (few + count) // 2
        if is_met(fewer := come(middle)):
            count, found = middle, fewer
        else:
            few = middle
    return Answer(case.name, case.shop(count), found, count)


def _simulated(shop: Shop, costs: Costs, crowd: Crowd) -> Outcome:
    return Simulation(shop, costs, crowd).run()


def _shops() -> list[tuple[Shop, int]]:
    cluster = machines(8, CORES, shards=4, sales=4)
    return [
        (one_machine(), 1),
        *((machines(count, CORES), 1) for count in (1, 2, 4, 8)),
        (replace(cluster, name=f"{cluster.name}, 4 shards, 4 sales"), 4),
    ]


def find(folder: Path = BENCHMARKS) -> Findings:
    """Simulate all that the page tells."""
    costs, figures = calibrate(folder)
    crowds: dict[str, dict[int, Answer]] = {}
    capacity = []
    for shop, sales in _shops():
        for buyers in CROWDS:
            crowd = Crowd(buyers, UNITS // sales, window_seconds=WINDOW_SECONDS, sales=sales)
            answer = Answer(shop.name, shop, _simulated(shop, costs, crowd))
            crowds.setdefault(shop.name, {})[buyers] = answer
        full = Crowd(100_000, 100_000 // sales, window_seconds=WINDOW_SECONDS, sales=sales)
        capacity.append(Answer(shop.name, shop, _simulated(shop, costs, full)))
    million = [meet_million(case, costs) for case in cases()]
    return Findings(figures, checks(folder), crowds, capacity, million, costs)
