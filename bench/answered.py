"""How many buyers a second know their outcome, when 32 and 256 of them buy and wait for it, and come again.

Beside the variant that answers at once because it asks PostgreSQL while the buyer waits, and beside a naive queue.
"""

from bench.baselines.servers import best_threads
from bench.baselines.shop import baseline_shop
from bench.buyers import BEHIND_A_PROXY, BuyersFile, new_buyers
from bench.load import Traffic, generator, pour
from bench.progress import rounds_of
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sizes import size
from bench.stack import Stack, measured_stack
from bench.tills import (
    BY_CROWD,
    BY_WRK,
    LONG_POLL,
    NAIVE,
    NAIVE_BY_CROWD,
    ONE,
    ONE_BY_CROWD,
    PREFER,
    SECONDS,
    SOCKET,
    WAITING,
    Tills,
    all_ways,
)

VISITORS = (size(32, 8), size(256, 16))
BUYERS = size(60_000, 500)
# Who listens on a socket stays the same buyer, and buys more often than anybody may.
LIMITS = {"RATE_LIMIT_PURCHASE": "1000000/minute"}
# As `accept` has them: what waiting costs is what a request for which somebody waits costs web more.
CONNECTIONS = size(64, 8)
UNHEARD, HEARD = "202, nobody waits", PREFER
# Each of ours beside one statement and naive Celery from the same generator.
BESIDE = {PREFER: (ONE, NAIVE), LONG_POLL: (ONE, NAIVE), SOCKET: (ONE_BY_CROWD, NAIVE_BY_CROWD)}
# At least so much of one statement's rate, and so many times naive Celery's.
OF_ONE, OF_NAIVE = 0.8, 8


def run(rounds: int) -> Result:
    """Every way with each number of visitors, in turns."""
    with measured_stack(("flower",), **BEHIND_A_PROXY, **LIMITS) as stack, baseline_shop(stack) as shop:
        buyers, tills = new_buyers(stack, BUYERS), Tills(shop)
        threads = best_threads(stack, shop, "one-statement", buyers, VISITORS[0])
        rates: dict[tuple[str, int], list[float]] = {}
        costs: dict[str, list[float]] = {UNHEARD: [], HEARD: []}
        with all_ways(stack, tills, threads, buyers) as ways:
            for way in ways.values():
                way(VISITORS[0])
            for number in rounds_of(rounds, "answered"):
                for visitors in VISITORS:
                    for name in ways if number % 2 else reversed(ways):
                        rates.setdefault((name, visitors), []).append(ways[name](visitors))
                for name in costs if number % 2 else reversed(costs):
                    costs[name].append(_weigh(stack, tills, buyers, WAITING if name == HEARD else {}))
        weighed = Table("web's CPU a request", "milliseconds", [Row(name, tuple(ms)) for name, ms in costs.items()])
        return Result(
            title="Buyers who wait for their outcome",
            tables=[*(_table(rates, names, count) for count in VISITORS for names in (BY_WRK, BY_CROWD)), weighed],
            targets=_targets(rates),
            notes=(*_notes(stack, threads), *tills.counted()),
            servers=stack.versions(),
        )


def _weigh(stack: Stack, tills: Tills, buyers: BuyersFile, headers: dict[str, str]) -> float:
    """Milliseconds of web's CPU for a request and all that follows from it."""
    traffic = Traffic(stack.web_url, (tills.path,), headers=headers, connections=CONNECTIONS)
    before = stack.rows["web"].cpu_seconds()
    load = pour(traffic, SECONDS, buyers).checked()
    tills.ours.note(load.good)
    return (stack.rows["web"].cpu_seconds() - before) * 1000 / load.good


def _table(rates: dict[tuple[str, int], list[float]], names: tuple[str, ...], visitors: int) -> Table:
    rows = [Row(name, tuple(rates[name, visitors])) for name in names]
    return Table(f"{visitors} buyers, {'wrk' if names is BY_WRK else 'a crowd on aiohttp'}", "outcomes a second", rows)


def _targets(rates: dict[tuple[str, int], list[float]]) -> list[Target]:
    targets = []
    for visitors in VISITORS:
        median = {name: Row(name, tuple(found)).median for (name, count), found in rates.items() if count == visitors}
        for name, (one, naive) in BESIDE.items():
            of_one, of_naive = median[name] / median[one], median[name] / median[naive]
            targets += [
                Target(f"{visitors} buyers, {name}, of one statement", of_one, at_least=OF_ONE),
                Target(f"{visitors} buyers, {name}, of naive Celery", of_naive, at_least=OF_NAIVE),
            ]
    return targets


def _notes(stack: Stack, threads: int) -> tuple[str, ...]:
    known = stack.settings
    return (
        f"load: {generator()}; for WebSockets a crowd on aiohttp, one process, which may itself be the limit",
        f"{SECONDS} s a round; every request is another buyer's, and the next buyer comes when the outcome is known",
        f"ours: web {known.web_workers} processes of one event loop each, where who waits holds no thread; one worker",
        f"WebSockets: on live, {known.live_workers} processes",
        f"one statement: a CTE, autocommit, psycopg's pool, granian with 2 processes of {threads} threads (their best)",
        "naive Celery: a task and a transaction a purchase, prefork with one process",
        f"its buyers ask every 50 ms: {VISITORS[1]} of them up to {VISITORS[1] * 20:,} times a second, if it keeps up",
        "ours verifies a token and counts limits; the others ask nobody who they are",
        f"CPU: {CONNECTIONS} connections, {SECONDS} s a round, until the line is empty",
    )


BENCHMARK = Benchmark("answered", "buyers who wait for their outcome, beside one statement and naive Celery", run, 6)
