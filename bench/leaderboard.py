"""What a page of a leaderboard costs when few have bought, when millions have bought elsewhere, and when millions have
bought here.

The purchases are written by PostgreSQL itself, in bulk, into two servers: one with few, one with millions. Each has a
process that reads its pages, by the functions that the shop reads them with, and the two are asked in turns: whatever
else this machine does meanwhile, it does to all rows alike. Every page is an index walk, so the rows of one page should
stand close together.
"""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from sqlalchemy import TextClause

from bench.filled import FIRST_OTHER, OTHER_SALES, USERS, buy, filled_server
from bench.progress import rounds_of
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sizes import size
from models import rediskeys
from models.database import engine, transaction
from models.first_page import first_page
from models.leaderboard import BY_TOTALS, CHRONOLOGICAL, LATEST, Place, by_totals, chronological, latest_across_sales
from models.redisclient import redis_client
from models.settings import settings

FEW = size(1_000, 100)
MANY = size(5_000_000, 5_000)
PAGE = 20
CALLS_PER_ROUND = 40
WARM_UP_CALLS = 20
SMALL, BIG = 1, 2
# A page among millions may cost a fifth more than one among few.
FLAT = 1.2


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Page:
    """A page to be read; `prepare` happens before the clock starts."""

    read: Callable[[], Any]
    prepare: Callable[[], Any] = _nothing


@dataclass(frozen=True, slots=True)
class Case:
    """A sale whose pages are read: how much was bought in it, and in others."""

    sale_id: int
    here: int
    elsewhere: int

    @property
    def name(self) -> str:
        return f"{self.here:,} here, {self.elsewhere:,} elsewhere"


FEW_BOUGHT = Case(SMALL, FEW, FEW)
MANY_ELSEWHERE = Case(SMALL, FEW, MANY * 2)
MANY_HERE = Case(BIG, MANY, MANY)


def run(rounds: int) -> Result:
    """Fill two servers, and read the same pages from both in turns."""
    with filled_server(_buy_few) as few, filled_server(_buy_many) as many:
        cases = {FEW_BOUGHT: few.reader, MANY_ELSEWHERE: many.reader, MANY_HERE: many.reader}
        for case, reader in cases.items():
            reader.submit(_warm_up, case).result()
        measured: dict[str, list[float]] = {}
        for _ in rounds_of(rounds, "leaderboard"):
            found = {case: cases[case].submit(_round, case).result() for case in random.sample(list(cases), len(cases))}
            for case in cases:
                for page, milliseconds in found[case].items():
                    measured.setdefault(f"{page}: {case.name}", []).append(milliseconds)
        plans = many.reader.submit(_plans, MANY_HERE).result()
        order = sorted(measured, key=lambda name: name.partition(":")[0])
        return Result(
            title="A page of a leaderboard, by how much was bought",
            tables=[Table("", "milliseconds", [Row(name, tuple(measured[name])) for name in order])],
            targets=_targets(measured),
            notes=(*_notes(many.size), *plans),
            servers=many.versions,
        )


def _targets(measured: dict[str, list[float]]) -> list[Target]:
    """Of every page: what it costs among millions, by what it costs among few."""
    median = {name: statistics.median(rounds) for name, rounds in measured.items()}
    pages = sorted({name.partition(": ")[0] for name in measured})
    return [
        Target(
            f"{page}: {MANY:,} bought here, of {FEW:,}",
            median[f"{page}: {MANY_HERE.name}"] / median[f"{page}: {FEW_BOUGHT.name}"],
            at_most=FLAT,
        )
        for page in pages
    ]


def _notes(size: str) -> tuple[str, ...]:
    return (
        f"pages of {PAGE} rows; a round is the median of {CALLS_PER_ROUND} calls, in turns with the other pages",
        "every round reads all three cases, in a new order, so that they share whatever else the machine does",
        "how much was bought in the sale that is asked about, and in others; the three rows of a page belong together",
        "amid equals: after three quarters of the buyers, half of whom have as many units as each other",
        "from the call to the rows, with the connection's check, BEGIN and COMMIT, without HTTP",
        "kept: in Redis; not kept: read from PostgreSQL and kept, which Redis writes to its disk",
        f"{USERS:,} users; purchases elsewhere are spread over {OTHER_SALES} sales",
        f"PostgreSQL has 32 MB of buffers of its own; the larger database is {size}",
    )


def _warm_up(case: Case) -> None:
    for page in _pages(case).values():
        for _ in range(WARM_UP_CALLS):
            page.read()


def _round(case: Case) -> dict[str, float]:
    """The median milliseconds of each page, read in turns with the others. Runs in a server's own process."""
    pages = _pages(case)
    times: dict[str, list[float]] = {name: [] for name in pages}
    for _ in range(CALLS_PER_ROUND):
        for name in random.sample(list(pages), len(pages)):
            pages[name].prepare()
            started_at = time.perf_counter()
            pages[name].read()
            times[name].append((time.perf_counter() - started_at) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def _pages(case: Case) -> dict[str, Page]:
    sale_id, middle = case.sale_id, case.here // 2
    place = _place_among_equals(sale_id)
    return {
        "by admission, first page, kept": Page(lambda: first_page(sale_id), lambda: first_page(sale_id)),
        "by admission, first page, not kept": Page(
            lambda: first_page(sale_id), lambda: redis_client().delete(rediskeys.leaderboard(sale_id))
        ),
        "by admission, first page, no Redis": Page(lambda: chronological(sale_id, PAGE)),
        "by admission, from the middle": Page(lambda: chronological(sale_id, PAGE, middle)),
        "by totals, first page": Page(lambda: by_totals(sale_id, PAGE)),
        "by totals, amid equals": Page(lambda: by_totals(sale_id, PAGE, place)),
        "the latest of all sales": Page(lambda: latest_across_sales(PAGE)),
    }


@cache
def _place_among_equals(sale_id: int) -> Place:
    """A place with three quarters of the buyers before it, amid all who have as much: found the slow way, once."""
    with psycopg.connect(settings().psycopg_url) as database:
        found = database.execute(
            "SELECT units, first_ticket FROM buyer_totals WHERE sale_id = %s ORDER BY units DESC, first_ticket "
            "OFFSET (SELECT count(*) * 3 / 4 FROM buyer_totals WHERE sale_id = %s) LIMIT 1",
            (sale_id, sale_id),
        ).fetchone()
    assert found is not None  # noqa: S101 - the sale has buyers
    return Place(found[0], found[1], rank=1, position=1)


def _plans(case: Case) -> list[str]:
    place = _place_among_equals(case.sale_id)
    asked: dict[str, tuple[TextClause, dict[str, int]]] = {
        "by admission, from the middle": (
            CHRONOLOGICAL,
            {"sale_id": case.sale_id, "after": case.here // 2, "limit": PAGE},
        ),
        "by totals, amid equals": (
            BY_TOTALS,
            {"sale_id": case.sale_id, "units": place.units, "first_ticket": place.first_ticket, "limit": PAGE},
        ),
        "the latest of all sales": (LATEST, {"limit": PAGE}),
    }
    found = []
    for name, (statement, values) in asked.items():
        with transaction() as session:
            lines = session.connection().exec_driver_sql(
                "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + _as_psycopg(statement), values
            )
            plan = "\n".join(f"  {line}" for (line,) in lines)
        found.append(f"the plan of “{name}”, with {case.name}:\n\n  ```\n{plan}\n  ```")
    return found


def _as_psycopg(statement: TextClause) -> str:
    return str(statement.compile(engine()))


def _buy_few(database: psycopg.Connection[Any]) -> None:
    buy(database, SMALL, FEW)
    buy(database, FIRST_OTHER, FEW)


def _buy_many(database: psycopg.Connection[Any]) -> None:
    buy(database, SMALL, FEW)
    buy(database, BIG, MANY)
    for other in range(FIRST_OTHER, FIRST_OTHER + OTHER_SALES):
        buy(database, other, MANY // OTHER_SALES)


BENCHMARK = Benchmark("leaderboard", f"a page of a leaderboard at {FEW:,} and at {MANY:,} purchases", run, minutes=5)
