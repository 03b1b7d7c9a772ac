"""From request to settled, everything running: how many purchases a second two cores get done, beside selling them one
by one while the buyer waits, in every way that one would think of.

Web, worker, PostgreSQL, Redis and the load share the cores. What counts for us is settled, not accepted: the clock
stops when the last accepted request has its outcome.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psycopg

from bench.baselines.servers import BODY, STOCK, baseline_server, best_threads
from bench.baselines.shop import BaselineShop, baseline_shop
from bench.buyers import BEHIND_A_PROXY, BuyersFile, new_buyers
from bench.load import Traffic, generator, pour
from bench.progress import rounds_of, say
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import exactness, line_length, new_sale, wait_until_line_is_empty
from bench.servers import BARE_APP, gunicorn
from bench.sizes import size
from bench.stack import Stack, cpu_seconds, machine_cpu_seconds, measured_stack

CONNECTIONS = 64
SECONDS = size(8, 1)
SUSTAINED_SECONDS = size(60, 5)
WINDOWS = 5
BUYERS = size(60_000, 500)
REST_SECONDS = size(20, 2)
# What reference system 003 reached with its reservations on the planning machine, of bare Flask on gunicorn
# beside it. It runs on Node and is not run here.
SHARE_003 = 0.34

SHOP, ONE, NAKED, PEER = "ours, settled", "one statement", "bare Flask, gunicorn", "003's reservations (0.34 of that)"
OTHERS = {
    "update, then insert": "update-then-insert",
    "select for update": "select-for-update",
    "lock in Redis": "redis-lock",
    "no guard (the control)": "unguarded",
}

WEB, WORKER, POSTGRES, REDIS, BACKGROUND, LOAD = (
    "web",
    "worker",
    "PostgreSQL",
    "Redis",
    "chores and beat",
    "load and the rest of the machine",
)

# Returns how many a second.
Way = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Settled:
    """Of one round of ours: milliseconds of CPU a purchase of each part, and how many were settled in one turn."""

    cpu_ms: dict[str, float]
    a_turn: float


@dataclass(slots=True)
class Seen:
    """What is found out beside the rates."""

    counted: set[str] = field(default_factory=set)
    settled: list[Settled] = field(default_factory=list)


def run(rounds: int) -> Result:
    """Every way for some seconds in turns, and then ours for a minute without a pause."""
    with measured_stack(("live", "flower"), **BEHIND_A_PROXY) as stack, baseline_shop(stack) as shop:
        buyers = new_buyers(stack, BUYERS)
        threads = best_threads(stack, shop, "one-statement", buyers, CONNECTIONS)
        seen, rest = Seen(), _rest(stack)
        with _ways(stack, shop, threads, buyers, seen) as ways:
            for name in (SHOP, ONE):
                ways[name]()
            seen.settled.clear()
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for number in rounds_of(rounds, "whole"):
                for name in ways if number % 2 else reversed(ways):
                    rates[name].append(ways[name]())
        rates[PEER] = [SHARE_003 * rate for rate in rates[NAKED]]
        say(f"ours for {SUSTAINED_SECONDS} s without a pause")
        sustained, sum_of_it = _sustained(stack, buyers)
        seen.counted.add(f"ours, sustained: {sum_of_it}")
        order = [ONE, SHOP, *OTHERS, NAKED, PEER]
        return Result(
            title="From request to settled",
            tables=[
                Table("", "purchases a second", [Row(name, tuple(rates[name])) for name in order]),
                Table(
                    f"ours for {SUSTAINED_SECONDS} s without a pause, by fifths",
                    "purchases settled a second",
                    [Row("ours, settled", tuple(sustained))],
                ),
                *_costs(seen.settled, rest),
            ],
            targets=_targets(rates, sustained),
            notes=(*_notes(stack, threads), *(f"counted, {line}" for line in sorted(seen.counted))),
            servers=stack.versions(),
        )


@contextmanager
def _ways(stack: Stack, shop: BaselineShop, threads: int, buyers: BuyersFile, seen: Seen) -> Iterator[dict[str, Way]]:
    with ExitStack() as cleanup:
        url = cleanup.enter_context(baseline_server(stack, threads)).url
        naked = cleanup.enter_context(gunicorn(stack, BARE_APP)).url

        def asking(name: str, way: str) -> Way:
            def sell() -> float:
                sale_id = shop.new_sale(STOCK)
                traffic = Traffic(url, (f"/{way}/{sale_id}",), body=BODY, connections=CONNECTIONS)
                rate = pour(traffic, SECONDS, buyers).checked().rate
                count = shop.count(sale_id)
                seen.counted.add(f"{name}: {'exact' if count.is_exact else count}")
                return rate

            return sell

        yield {
            ONE: asking(ONE, "one-statement"),
            SHOP: lambda: _settle(stack, buyers, seen.settled),
            **{name: asking(name, way) for name, way in OTHERS.items()},
            NAKED: lambda: pour(Traffic(naked, ("/bare",), connections=CONNECTIONS), SECONDS, buyers).checked().rate,
        }


def _settle(stack: Stack, buyers: BuyersFile, settled: list[Settled]) -> float:
    """Accept for some seconds, and settle until nobody waits; how many a second, and what it cost into `settled`."""
    sale_id = new_sale("Whole")
    before, began_at = _used(stack), time.monotonic()
    load = pour(_traffic(stack, sale_id), SECONDS, buyers).checked()
    # wrk takes a moment to start and to end; without it we would be measured over a longer time than the others.
    overhead = time.monotonic() - began_at - load.seconds
    wait_until_line_is_empty(sale_id)
    seconds = time.monotonic() - began_at - overhead
    used = {name: (later - before[name]) * 1000 / load.good for name, later in _used(stack).items()}
    exactness(sale_id, at_least=load.good)
    settled.append(Settled(used, load.good / _revision(stack, sale_id)))
    return load.good / seconds


def _used(stack: Stack) -> dict[str, float]:
    """Seconds of CPU so far."""
    known = {name: stack.rows[name].cpu_seconds() for name in ("web", "worker", "chores", "beat")}
    used = {
        WEB: known["web"],
        WORKER: known["worker"],
        POSTGRES: cpu_seconds(stack.postgres_pid),
        REDIS: cpu_seconds(stack.valkey_pid),
        BACKGROUND: known["chores"] + known["beat"],
    }
    return used | {LOAD: machine_cpu_seconds() - sum(used.values())}


def _rest(stack: Stack) -> dict[str, float]:
    """Milliseconds of CPU a second of each part while nobody buys anything."""
    before = _used(stack)
    time.sleep(REST_SECONDS)
    return {name: (later - before[name]) * 1000 / REST_SECONDS for name, later in _used(stack).items() if name != LOAD}


def _revision(stack: Stack, sale_id: int) -> int:
    """How often a sale was written: of one that nobody else touches, once a batch."""
    with psycopg.connect(stack.settings.psycopg_url, autocommit=True) as database:
        row = database.execute("SELECT revision FROM flash_sales WHERE id = %s", (sale_id,)).fetchone()
    return int(row[0]) if row else 1


def _costs(settled: list[Settled], rest: dict[str, float]) -> list[Table]:
    return [
        Table(
            "CPU a purchase of ours",
            "milliseconds",
            [Row(name, tuple(each.cpu_ms[name] for each in settled)) for name in settled[0].cpu_ms],
        ),
        Table("CPU while nobody buys", "milliseconds a second", [Row(name, (used,)) for name, used in rest.items()]),
        Table("settled in one turn", "purchases", [Row("ours, settled", tuple(each.a_turn for each in settled))]),
    ]


def _sustained(stack: Stack, buyers: BuyersFile) -> tuple[list[float], str]:
    """Purchases settled a second in each fifth of a long run, and the count after it."""
    sale_id = new_sale("Sustained")
    answered: list[int] = []
    load = threading.Thread(
        target=lambda: answered.append(pour(_traffic(stack, sale_id), SUSTAINED_SECONDS, buyers).checked().good)
    )
    rates = []
    with psycopg.connect(stack.settings.psycopg_url, autocommit=True) as database:
        load.start()
        before, last_at = 0, time.monotonic()
        for _ in range(WINDOWS):
            time.sleep(SUSTAINED_SECONDS / WINDOWS)
            row = database.execute("SELECT settled_through FROM flash_sales WHERE id = %s", (sale_id,)).fetchone()
            settled, now = (int(row[0]) if row else 0), time.monotonic()
            rates.append((settled - before) / (now - last_at))
            before, last_at = settled, now
        load.join()
    waiting = line_length(sale_id)
    wait_until_line_is_empty(sale_id)
    counted = exactness(sale_id, at_least=answered[0] if answered else 1)
    return rates, f"{counted}; {waiting:,} waited when the load ended"


def _traffic(stack: Stack, sale_id: int) -> Traffic:
    return Traffic(stack.web_url, (f"/api/flash-sales/{sale_id}/purchases",), connections=CONNECTIONS)


def _targets(rates: dict[str, list[float]], sustained: list[float]) -> list[Target]:
    median = {name: Row(name, tuple(values)).median for name, values in rates.items()}
    best = max(median[name] for name in (ONE, *OTHERS) if name != "no guard (the control)")
    return [
        Target("settled, of the best way to sell at once that is exact", median[SHOP] / best, at_least=1.5),
        Target("settled, of 003's reservations", median[SHOP] / median[PEER], at_least=2),
        Target("the slowest fifth of a minute, of the median", min(sustained) / Row("", tuple(sustained)).median, 0.8),
    ]


def _notes(stack: Stack, threads: int) -> tuple[str, ...]:
    return (
        f"load: {generator()}, {CONNECTIONS} connections, {SECONDS} s a round; one sale with units for everybody",
        f"ours: web {stack.settings.web_workers} processes of one event loop each, one worker",
        "the clock stops when the last request that was accepted is settled",
        f"the others: granian with 2 processes of {threads} threads (one statement's best), psycopg's pool, one sale",
        "ours verifies tokens, counts limits and keeps each request on the disk; the others ask nobody who they are",
        f"003 was measured when this was planned: {SHARE_003} of bare Flask on gunicorn (2 processes of 8 threads)",
    )


BENCHMARK = Benchmark("whole", "from request to settled, beside selling while the buyer waits", run, 7)
