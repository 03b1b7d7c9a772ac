"""What stays the same when everything else grows: settling when millions have bought, accepting when a thousand sales
are live, the rate at which a line drains however long it is, and the memory that a waiting request takes.

What a page of a leaderboard costs among millions is measured by `leaderboard`.
"""

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import psycopg

from bench.buyers import BEHIND_A_PROXY, new_buyers
from bench.filled import buy, filled_server
from bench.line import Line
from bench.load import Traffic, generator, pour
from bench.progress import rounds_of, say
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import exactness, line_length, new_sale, settle_all
from bench.sizes import size
from bench.stack import Stack, measured_stack
from models import rediskeys
from models.announce import rebuild_view
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settle import settle_turn

FEW, MANY = size(1_000, 100), size(5_000_000, 5_000)
FILLED_SALE = 1
SETTLED_A_ROUND = size(8_000, 400)
FIRST_USER = 2_000_000

LIVE_SALES = (1, size(30, 3), size(1_000, 10))
ACCEPT_SECONDS = size(3, 1)
BUYERS = size(60_000, 500)
CONNECTIONS = 64

SHORT_LINE, LONG_LINE = size(10_000, 500), size(1_000_000, 4_000)
MODEL_LINE = size(50_000, 500)
WEIGHED = size(10_000, 500)
# All that is told to grow may cost a fifth more, and no more.
FLAT, FLAT_RATE = 1.2, 0.83


def run(rounds: int) -> Result:
    """Settling on two filled servers; the rest on a stack where web alone runs."""
    settling, versions = _settle_among_purchases(rounds)
    with measured_stack(("live", "worker", "chores", "beat", "flower"), LINE_MAX="10000000", **BEHIND_A_PROXY) as stack:
        accepting = _accept_among_sales(stack, rounds)
        memory = _weigh(rounds)
        draining, counted = _drain_lines(rounds)
    tables = [
        Table("settling, by how many have bought", "microseconds a request", settling),
        Table("accepting, by how many sales are live", "requests a second", accepting),
        Table("draining a line in one process, by its length", "requests a second", draining),
        Table("memory of a waiting request", "bytes", memory),
    ]
    return Result(
        title="What stays the same when the rest grows",
        tables=tables,
        targets=[
            Target(
                f"settling at {MANY:,} purchases, of {FEW:,}", settling[1].median / settling[0].median, at_most=FLAT
            ),
            Target(
                f"accepting at {LIVE_SALES[-1]:,} live sales, of one",
                accepting[-1].median / accepting[0].median,
                at_least=FLAT_RATE,
            ),
            Target(
                f"a line of {LONG_LINE:,}, of the rate of {SHORT_LINE:,}",
                draining[1].median / draining[0].median,
                at_least=FLAT_RATE,
            ),
            Target("memory of a waiting request, in bytes", memory[0].median, at_most=300),
        ],
        notes=(
            f"settling: {SETTLED_A_ROUND:,} requests a round in one process, in turns on two servers",
            f"the smaller one had {FEW:,} purchases before the first round, and more with every round",
            f"accepting: {generator()}, {CONNECTIONS} connections; every request is another buyer's, at the next sale",
            "draining: a part of the long line, then as many requests in short ones, one after the other, in turns",
            f"the long line is {MODEL_LINE:,} buyers again and again",
            "memory: what Redis says it uses more after the gate has admitted the requests, divided by them",
            *counted,
        ),
        servers=versions,
    )


def _settle_among_purchases(rounds: int) -> tuple[list[Row], dict[str, str]]:
    found: dict[str, list[float]] = {}
    say(f"filling two servers, with {FEW:,} and with {MANY:,} purchases")
    with filled_server(_fill_few) as few, filled_server(_fill_many) as many:
        servers = {f"{FEW:,} purchases": few.reader, f"{MANY:,} purchases": many.reader}
        for reader in servers.values():
            reader.submit(_settle_some).result()
        for number in rounds_of(rounds, "settling"):
            for name in servers if number % 2 else reversed(servers):
                found.setdefault(name, []).append(servers[name].submit(_settle_some).result())
        for reader in servers.values():
            reader.submit(exactness, FILLED_SALE).result()
        return [Row(name, tuple(found[name])) for name in servers], many.versions


def _fill_few(database: psycopg.Connection[Any]) -> None:
    _fill(database, FEW)


def _fill_many(database: psycopg.Connection[Any]) -> None:
    _fill(database, MANY)


def _fill(database: psycopg.Connection[Any], purchases: int) -> None:
    """A live sale whose first tickets are settled, with units for everybody who comes."""
    buy(database, FILLED_SALE, purchases)
    database.execute(
        "UPDATE flash_sales SET state = 'live', end_reason = NULL, total_stock = found.units + 1000000, "
        "sold = found.units, settled_through = found.tickets FROM (SELECT sum(quantity) AS units, count(*) AS tickets "
        "FROM purchases WHERE sale_id = %(sale)s) AS found WHERE id = %(sale)s",
        {"sale": FILLED_SALE},
    )
    database.execute(
        "INSERT INTO stock_movements (sale_id, kind, quantity, reason) "
        "SELECT id, 'initial', total_stock, 'the sale was made' FROM flash_sales WHERE id = %s",
        (FILLED_SALE,),
    )


@cache
def _line_of_a_round() -> Line:
    return Line(range(FIRST_USER, FIRST_USER + SETTLED_A_ROUND))


def _settle_some() -> float:
    """Microseconds a request. Runs in the process of a filled server."""
    rebuild_view(FILLED_SALE)
    count = _line_of_a_round().line_up_again(FILLED_SALE)
    began_at = time.perf_counter()
    settle_all(FILLED_SALE)
    return (time.perf_counter() - began_at) * 1e6 / count


def _accept_among_sales(stack: Stack, rounds: int) -> list[Row]:
    say(f"making {BUYERS:,} buyers and {LIVE_SALES[-1]:,} sales")
    buyers = new_buyers(stack, BUYERS)
    paths = [f"/api/flash-sales/{new_sale(f'Sale {number}')}/purchases" for number in range(LIVE_SALES[-1])]
    found: dict[int, list[float]] = {count: [] for count in LIVE_SALES}
    # Once past each of them, so that the gate knows them all.
    pour(Traffic(stack.web_url, tuple(paths), connections=CONNECTIONS), 1, buyers)
    for number in rounds_of(rounds, "accepting"):
        for count in LIVE_SALES if number % 2 else reversed(LIVE_SALES):
            traffic = Traffic(stack.web_url, tuple(paths[:count]), connections=CONNECTIONS)
            found[count].append(pour(traffic, ACCEPT_SECONDS, buyers).checked().rate)
    return [Row(f"{count:,} live sale{'' if count == 1 else 's'}", tuple(rates)) for count, rates in found.items()]


def _weigh(rounds: int) -> list[Row]:
    """Bytes a waiting request, with and without an Idempotency-Key."""
    plain, keyed, streams = [], [], []
    for _ in rounds_of(rounds, "memory"):
        sale_id = new_sale("Weighed")
        before = _used_bytes()
        for user in range(WEIGHED):
            admit(sale_id, FIRST_USER + user, Kind.PURCHASE, 1)
        plain.append((_used_bytes() - before) / WEIGHED)
        streams.append(int(redis_client().memory_usage(rediskeys.mailbox(sale_id), samples=0) or 0) / WEIGHED)
        other, before = new_sale("Weighed"), _used_bytes()
        for user in range(WEIGHED):
            admit(other, FIRST_USER + user, Kind.PURCHASE, 1, idempotency_key=f"a-key-of-the-usual-length-{user:09}")
        keyed.append((_used_bytes() - before) / WEIGHED)
    return [
        Row("a waiting request", tuple(plain)),
        Row("of it its place in the mailbox", tuple(streams)),
        Row("a waiting request with an Idempotency-Key of 36 letters", tuple(keyed)),
    ]


def _used_bytes() -> int:
    return int(redis_client().info("memory")["used_memory_dataset"])


def _drain_lines(rounds: int) -> tuple[list[Row], list[str]]:
    """A part of the long line, then as many in short ones, in turns.

    As many, so that both take as long: a single short line is gone in a quarter of a second, which any pause decides.
    """
    model = Line(range(FIRST_USER, FIRST_USER + MODEL_LINE))
    short = Line(range(FIRST_USER, FIRST_USER + SHORT_LINE))
    long_sale = new_sale("Long")
    say(f"{LONG_LINE:,} line up")
    model.line_up_again(long_sale, LONG_LINE // MODEL_LINE)
    slow, quick, sales = [], [], []
    for number in rounds_of(rounds, "draining"):
        slow.append(_drain([long_sale], down_to=LONG_LINE * (rounds - number - 1) // rounds))
        sales = [new_sale("Short") for _ in range(max(1, LONG_LINE // rounds // SHORT_LINE))]
        for sale_id in sales:
            short.put_before(sale_id)
        quick.append(_drain(sales, down_to=0))
    counted = [f"counted: {exactness(sale_id)}" for sale_id in (long_sale, *sales[:1])]
    rows = [Row(f"a line of {SHORT_LINE:,}", tuple(quick)), Row(f"a line of {LONG_LINE:,}", tuple(slow))]
    return rows, counted


def _drain(sale_ids: Sequence[int], *, down_to: int) -> float:
    """Requests a second, of one sale after the other."""
    began_at, drained = time.perf_counter(), 0
    for sale_id in sale_ids:
        waiting = line_length(sale_id)
        while line_length(sale_id) > down_to:
            settle_turn(sale_id)
        drained += waiting - line_length(sale_id)
    return drained / (time.perf_counter() - began_at)


BENCHMARK = Benchmark("growth", "what stays the same when purchases, sales and lines grow", run, minutes=9)
