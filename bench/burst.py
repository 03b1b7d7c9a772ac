"""200 units to 2,000 and to 50,000 buyers who all come at once: when the last unit is sold, and when the last of those
who came too late knows.

Every way but ours asks PostgreSQL while the buyer waits. The last of them, without a guard, is the control: it sells
more than there is.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from bench.baselines.servers import BODY, baseline_server, best_threads
from bench.baselines.shop import BaselineShop, baseline_shop
from bench.buyers import BEHIND_A_PROXY, BuyersFile, new_buyers
from bench.load import Traffic, generator, rush
from bench.progress import rounds_of
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import exactness, new_sale, wait_until_line_is_empty
from bench.sizes import size
from bench.stack import Stack, cpu_seconds, machine_cpu_seconds, measured_stack

UNITS = size(200, 20)
FEW, MANY = size(2_000, 100), size(50_000, 300)
BUYERS = size(60_000, 1_000)
CONNECTIONS = 64
SECONDS_MAX = size(400, 90)
# What the sale says a moment after the last unit is gone.
PAUSE_SECONDS = 0.3

ONE, PREFER, ACCEPTED = "one statement", "Prefer: wait", "202"
WAITING = {"Prefer": "wait=30"}
OTHERS = {
    "update, then insert": "update-then-insert",
    "select for update": "select-for-update",
    "lock in Redis": "redis-lock",
    "no guard (the control)": "unguarded",
}

SETTLED = """
    SELECT extract(epoch FROM max(settled_at) FILTER (WHERE status = 'confirmed')),
           extract(epoch FROM max(settled_at) FILTER (WHERE status = 'rejected'))
    FROM purchases WHERE sale_id = %s
"""


@dataclass(frozen=True, slots=True)
class Burst:
    """Seconds from the first request, and what was sold in words."""

    last_sold: float
    last_refused: float
    counted: str
    # Milliseconds of CPU an answer, of the load and whatever else is not the shop's.
    rest_ms: float = 0.0


Way = Callable[[int], Burst]


def run(rounds: int) -> Result:
    """Each burst has a sale of its own; the ways come in turns. Some are measured with the smaller crowd alone."""
    with measured_stack(("flower",), **BEHIND_A_PROXY) as stack, baseline_shop(stack) as shop:
        buyers = new_buyers(stack, BUYERS)
        threads = best_threads(stack, shop, "one-statement", buyers, CONNECTIONS)
        found: dict[int, dict[str, list[Burst]]] = {FEW: {}, MANY: {}}
        with _ways(stack, shop, threads, buyers) as ways:
            for way in ways.values():
                way(FEW)
            for number in rounds_of(rounds, "burst"):
                for crowd, bursts in found.items():
                    names = list(ways) if crowd == FEW else [ONE, PREFER, ACCEPTED]
                    for name in names if number % 2 else reversed(names):
                        bursts.setdefault(name, []).append(ways[name](crowd))
                        time.sleep(PAUSE_SECONDS)
        return Result(
            title=f"A burst for {UNITS} units",
            tables=[
                Table(f"{crowd:,} buyers: {what}", "seconds from the first request", _rows(found[crowd], field))
                for crowd in found
                for what, field in (("the last unit is sold", "last_sold"), ("the last refusal", "last_refused"))
            ]
            + [_weighed(found[MANY])],
            targets=_targets(found),
            notes=(*_notes(stack, threads), *_counted(found)),
            servers=stack.versions(),
        )


@contextmanager
def _ways(stack: Stack, shop: BaselineShop, threads: int, buyers: BuyersFile) -> Iterator[dict[str, Way]]:
    with ExitStack() as cleanup:
        url = cleanup.enter_context(baseline_server(stack, threads)).url

        def asking(way: str) -> Way:
            return lambda crowd: _ask_a_baseline(shop, url, way, crowd, buyers)

        yield {
            ONE: asking("one-statement"),
            PREFER: lambda crowd: _ask_us(stack, crowd, buyers, waits=True),
            ACCEPTED: lambda crowd: _ask_us(stack, crowd, buyers, waits=False),
            **{name: asking(way) for name, way in OTHERS.items()},
        }


def _ask_a_baseline(shop: BaselineShop, url: str, way: str, crowd: int, buyers: BuyersFile) -> Burst:
    sale_id = shop.new_sale(UNITS)
    traffic = Traffic(url, (f"/{way}/{sale_id}",), body=BODY, connections=CONNECTIONS)
    seen = rush(traffic, crowd, buyers, seconds_max=SECONDS_MAX).checked(201, 409)
    return Burst(seen.last_after(201), seen.last_after(409), str(shop.count(sale_id)))


def _ask_us(stack: Stack, crowd: int, buyers: BuyersFile, *, waits: bool) -> Burst:
    sale_id = new_sale("Burst", stock=UNITS)
    path, headers = f"/api/flash-sales/{sale_id}/purchases", WAITING if waits else {}
    traffic = Traffic(stack.web_url, (path,), headers=headers, connections=CONNECTIONS)
    before = _rest_seconds(stack)
    seen = rush(traffic, crowd, buyers, seconds_max=SECONDS_MAX).checked(201 if waits else 202, 409)
    rest_ms = (_rest_seconds(stack) - before) * 1000 / crowd
    wait_until_line_is_empty(sale_id)
    sold, refused = seen.last_after(201), seen.last_after(409)
    if not waits:
        # Who was told 202 knows when PostgreSQL has the outcome, and asks or listens for it.
        with psycopg.connect(stack.settings.psycopg_url, autocommit=True) as database:
            row = database.execute(SETTLED, (sale_id,)).fetchone() or (None, None)
        sold = float(row[0] or seen.began_at) - seen.began_at
        refused = max(refused, float(row[1] or 0) - seen.began_at)
    return Burst(sold, refused, exactness(sale_id, refusals=True).partition(" settled once each, ")[2], rest_ms)


def _rest_seconds(stack: Stack) -> float:
    """What everything but the shop and its servers has used of this machine so far."""
    of_shop = sum(row.cpu_seconds() for row in stack.rows.values())
    return machine_cpu_seconds() - of_shop - cpu_seconds(stack.valkey_pid) - cpu_seconds(stack.postgres_pid)


def _weighed(found: dict[str, list[Burst]]) -> Table:
    rows = [Row(name, tuple(burst.rest_ms for burst in found[name])) for name in (ACCEPTED, PREFER)]
    return Table(f"{MANY:,} buyers: CPU a request of the load and the rest of the machine", "milliseconds", rows)


def _rows(found: dict[str, list[Burst]], field: str) -> list[Row]:
    rows = [
        Row(name, tuple(getattr(burst, field) for burst in found[name]))
        for name in (ONE, ACCEPTED, PREFER, *OTHERS)
        if name in found
    ]
    # The control refuses nobody.
    return [row for row in rows if row.median]


def _targets(found: dict[int, dict[str, list[Burst]]]) -> list[Target]:
    targets = []
    for crowd, ways in found.items():
        for field, what in (("last_sold", "last unit sold"), ("last_refused", "last refusal")):
            median = {row.name: row.median for row in _rows(ways, field)}
            for name in (PREFER, ACCEPTED):
                text = f"{crowd:,} buyers, {what}, {name}, of one statement's time"
                targets.append(Target(text, median[name] / median[ONE], at_most=1))
    return targets


def _counted(found: dict[int, dict[str, list[Burst]]]) -> list[str]:
    told = {(name, burst.counted) for ways in found.values() for name, bursts in ways.items() for burst in bursts}
    return [f"counted, {name}: {counted}" for name, counted in sorted(told)]


def _notes(stack: Stack, threads: int) -> tuple[str, ...]:
    return (
        f"load: {generator()}, {CONNECTIONS} connections; every request is another buyer's",
        f"ours: web {stack.settings.web_workers} processes of one event loop each, one worker",
        "Prefer: wait: the answer is the outcome; 202: the sale's last outcome is read from PostgreSQL afterwards",
        f"the others: granian with 2 processes of {threads} threads (one statement's best), psycopg's pool",
        "ours verifies tokens and counts limits; the others ask nobody who they are",
    )


BENCHMARK = Benchmark(
    "burst", f"{UNITS} units to {FEW:,} and to {MANY:,} buyers at once, beside one statement", run, 12
)
