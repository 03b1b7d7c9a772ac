"""How fast one worker settles a long line of one sale, beside what PostgreSQL can take at all, and beside a Celery task
for every purchase.

The baseline is the physical limit: one psycopg connection that copies the very same rows, ready as bytes, into the
very same table, and commits in the same batches. It decides nothing, tells nobody and moves no stock.
"""

import time

import psycopg
from psycopg import sql

from bench.baselines.servers import celery_worker
from bench.baselines.shop import BaselineShop, baseline_shop
from bench.line import Line
from bench.progress import rounds_of
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import exactness, line_length, new_sale, wait_until_line_is_empty, wait_until_settled
from bench.sizes import size
from bench.stack import Running, Stack, cpu_seconds, measured_stack, started
from models.purchase import Purchase
from ops.errors import OpsError
from web.wake import waker

LINE = size(100_000, 3_000)
NAIVE = size(3_000, 200)
LEFT_OUT = ("web", "live", "worker", "chores", "beat", "flower")
SECONDS_MAX = 120
POLL_NAIVE_SECONDS = 0.2
TURNS = size(400, 100)
POLL_TURNS_SECONDS = 0.1
FIRST_USER = 1_000_000
NAIVE_STOCK = 1_000_000

COPY, SHOP, NAIVE_WAY = "psycopg copies the same rows", "one worker settles", "naive: a Celery task a purchase"
COPYING, WORKER, SETTLING, REDIS = "PostgreSQL, copying", "worker", "PostgreSQL, settling", "Redis"
BESIDE, WAKING = "of the worker, beside PostgreSQL", "whoever wakes"


def run(rounds: int) -> Result:
    """In turns: the line, the same rows by COPY, and a shorter line of naive tasks."""
    rates: dict[str, list[float]] = {COPY: [], SHOP: [], NAIVE_WAY: []}
    costs: dict[str, list[float]] = {COPYING: [], WORKER: [], BESIDE: [], SETTLING: [], REDIS: []}
    turns: dict[str, list[float]] = {WORKER: [], SETTLING: [], REDIS: [], WAKING: []}
    with measured_stack(LEFT_OUT) as stack, baseline_shop(stack) as naive:
        line, one = Line(range(FIRST_USER, FIRST_USER + LINE)), Line([FIRST_USER])
        counted = []
        with started(stack, stack.row("worker")) as worker:
            _settle(stack, worker, line)
            _take_turns(stack, worker, one)
            for _ in rounds_of(rounds, "settle"):
                sale_id, rate, cost = _settle(stack, worker, line)
                rates[SHOP].append(rate)
                for name, value in cost.items():
                    costs[name].append(value)
                counted.append(exactness(sale_id, at_least=LINE))
                rate, cost_of_copy = _copy(stack, sale_id)
                rates[COPY].append(rate)
                costs[COPYING].append(cost_of_copy)
                for name, value in _take_turns(stack, worker, one).items():
                    turns[name].append(value)
                rates[NAIVE_WAY].append(_drain_naively(stack, naive, counted))
        return Result(
            title=f"Settling a line of {LINE:,}",
            tables=[
                Table("", "requests a second", [Row(name, tuple(values)) for name, values in rates.items()]),
                Table("CPU a request", "microseconds", [Row(name, tuple(values)) for name, values in costs.items()]),
                Table(
                    "CPU a turn at a line of one request",
                    "milliseconds",
                    [Row(name, tuple(values)) for name, values in turns.items()],
                ),
            ],
            targets=_targets(rates),
            notes=_notes(stack, counted),
            servers=stack.versions(),
        )


def _settle(stack: Stack, worker: Running, line: Line) -> tuple[int, float, dict[str, float]]:
    """The sale, the requests a second, and the microseconds of CPU that a request cost each process."""
    sale_id = new_sale("Settle")
    line.put_before(sale_id)
    before = _used(stack, worker)
    began_at = time.time()
    waker().wake(sale_id)
    ended_at = wait_until_settled(stack, sale_id, line.length, seconds_max=SECONDS_MAX)
    after = _used(stack, worker)
    # The last batch is trimmed after it is committed.
    wait_until_line_is_empty(sale_id)
    cost = {name: (after[name] - used) * 1e6 / line.length for name, used in before.items()}
    return sale_id, line.length / (ended_at - began_at), cost


def _take_turns(stack: Stack, worker: Running, one: Line) -> dict[str, float]:
    """The milliseconds of CPU that a turn costs each process where one request waits, the wake-up included.

    As many sales as turns, woken all at once: the worker goes from one to the next.
    """
    sales = [new_sale("Turn") for _ in range(TURNS)]
    for sale_id in sales:
        one.put_before(sale_id)
    before, own = _used(stack, worker), time.process_time()
    for sale_id in sales:
        waker().wake(sale_id)
    deadline = time.monotonic() + SECONDS_MAX
    while line_length(sales[-1]):
        if time.monotonic() > deadline:
            raise OpsError(f"{TURNS} turns took over {SECONDS_MAX} s")
        # Seldom: what is asked here is on the bill.
        time.sleep(POLL_TURNS_SECONDS)
    after, own = _used(stack, worker), time.process_time() - own
    exactness(sales[-1], at_least=1)
    cost = {name: (after[name] - before[name]) * 1e3 / TURNS for name in (WORKER, SETTLING, REDIS)}
    return cost | {WAKING: own * 1e3 / TURNS}


def _used(stack: Stack, worker: Running) -> dict[str, float]:
    """Seconds of CPU so far."""
    return {
        WORKER: worker.cpu_seconds(),
        BESIDE: worker.cpu_seconds_beside(),
        SETTLING: cpu_seconds(stack.postgres_pid),
        REDIS: cpu_seconds(stack.valkey_pid),
    }


def _copy(stack: Stack, settled_sale: int) -> tuple[float, float]:
    """Rows a second by COPY, and the microseconds of PostgreSQL's CPU for each."""
    sale_id, batch = new_sale("Copy"), stack.settings.settle_batch_max
    columns = [column.name for column in Purchase.__table__.columns]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    values = sql.SQL(", ").join(sql.Literal(sale_id) if name == "sale_id" else sql.Identifier(name) for name in columns)
    out = sql.SQL("COPY (SELECT {} FROM purchases WHERE sale_id = {} AND ticket > {} AND ticket <= {}) TO STDOUT")
    into = sql.SQL("COPY purchases ({}) FROM STDIN").format(names)
    with psycopg.connect(stack.settings.psycopg_url, autocommit=True) as database:
        blocks = []
        for first in range(0, LINE, batch):
            statement = out.format(values, sql.Literal(settled_sale), sql.Literal(first), sql.Literal(first + batch))
            with database.cursor() as cursor, cursor.copy(statement) as copy:
                blocks.append(b"".join(bytes(part) for part in copy))
        cost, began_at = cpu_seconds(stack.postgres_pid), time.perf_counter()
        for block in blocks:
            with database.transaction(), database.cursor() as cursor, cursor.copy(into) as copy:
                copy.write(block)
        seconds = time.perf_counter() - began_at
        return LINE / seconds, (cpu_seconds(stack.postgres_pid) - cost) * 1e6 / LINE


def _drain_naively(stack: Stack, shop: BaselineShop, counted: list[str]) -> float:
    """Tasks a second, from the first outcome to the last: without the worker's start."""
    # Imported here: its broker is the one of the baselines that run now.
    from bench.baselines.tasks import buy  # noqa: PLC0415

    sale_id = shop.new_sale(NAIVE_STOCK)
    for number in range(NAIVE):
        buy.delay(f"{sale_id}-{number}", sale_id, FIRST_USER + number, 1)
    with celery_worker(stack):
        deadline = time.monotonic() + SECONDS_MAX
        while (found := shop.answered(sale_id))[0] < NAIVE:
            if time.monotonic() > deadline:
                raise OpsError(f"the naive worker did {found[0]} of {NAIVE} tasks in {SECONDS_MAX} s")
            time.sleep(POLL_NAIVE_SECONDS)
    counted.append(f"naive: {shop.count(sale_id)}")
    return (NAIVE - 1) / found[1]


def _targets(rates: dict[str, list[float]]) -> list[Target]:
    medians = {name: Row(name, tuple(values)).median for name, values in rates.items()}
    return [
        Target("settled, of what COPY takes", medians[SHOP] / medians[COPY], at_least=0.5),
        Target("settled, of a Celery task a purchase", medians[SHOP] / medians[NAIVE_WAY], at_least=15),
    ]


def _notes(stack: Stack, counted: list[str]) -> tuple[str, ...]:
    return (
        f"one sale, one Celery worker, {LINE:,} requests of as many buyers; from the wake-up to the last commit",
        f"batches of {stack.settings.settle_batch_max:,}, each one transaction; after each, buyers and gate are told",
        f"a turn: {TURNS} sales with one request each, woken all at once; what waking one costs is paid by web",
        "COPY: the very rows that settling wrote, as bytes, into the same table with its indexes and checks",
        f"naive: {NAIVE:,} tasks that wait, prefork with one process, from the first commit to the last",
        "the naive table has fewer columns and indexes than ours: all of that is in its favour",
        *(f"counted: {line}" for line in sorted(set(counted))),
    )


BENCHMARK = Benchmark("settle", f"a line of {LINE:,} settled by one worker, beside COPY", run, minutes=4)
