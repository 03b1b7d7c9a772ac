"""What a page of a leaderboard costs when few have bought, when millions have bought elsewhere, and when millions have
bought here.

The purchases are written by PostgreSQL itself, in bulk, into a server of their own; the pages are read by the functions
that the shop reads them with. Every page is an index walk, so the rows of one page should stand close together.
"""

import os
import random
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import TextClause

from bench.result import Benchmark, Result, Row
from bench.surroundings import ROOT
from models import rediskeys
from models.database import engine, transaction
from models.first_page import first_page
from models.leaderboard import BY_TOTALS, CHRONOLOGICAL, LATEST, Place, by_totals, chronological, latest_across_sales
from models.redisclient import redis_client
from models.settings import settings
from ops.throwaway import embedded_postgres, embedded_valkey

FEW = int(os.environ.get("BENCH_FEW", "1000"))
MANY = int(os.environ.get("BENCH_MANY", "5000000"))
OTHER_SALES = 50
USERS = 1_000_000
PAGE = 20
CALLS_PER_ROUND = 40
WARM_UP_CALLS = 20
SMALL, BIG = 1, 2
FIRST_OTHER = 3


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Page:
    """A page to be read; `prepare` happens before the clock starts."""

    read: Callable[[], Any]
    prepare: Callable[[], Any] = _nothing


@dataclass(frozen=True, slots=True)
class Stage:
    """How much has been bought when a sale's pages are read."""

    name: str
    sale_id: int
    purchases: int


def run(rounds: int) -> Result:
    """Fill a server of its own step by step, and read the same pages after each step."""
    measured: dict[str, list[float]] = {}
    plans: list[str] = []
    with _server() as (database, versions):
        _make_shop(database)
        _buy(database, SMALL, FEW)
        _buy(database, FIRST_OTHER, FEW)
        for stage in _stages(database):
            for name, rounds_ms in _measure(stage, rounds).items():
                measured[f"{name}: {stage.name}"] = rounds_ms
            plans = _plans(stage)
        size = database.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()
    order = sorted(measured, key=lambda name: name.partition(":")[0])
    return Result(
        title="A page of a leaderboard, by how much was bought",
        unit="milliseconds",
        rows=[Row(name, tuple(measured[name])) for name in order],
        notes=(*_notes(size[0] if size else "unknown size"), *plans),
        servers=versions,
    )


def _notes(size: str) -> tuple[str, ...]:
    return (
        f"pages of {PAGE} rows; each figure is the median of {CALLS_PER_ROUND} calls, in turns with the other pages",
        "how much was bought in the sale that is asked about, and in others; the three rows of a page belong together",
        "amid equals: after three quarters of the buyers, half of whom have as many units as each other",
        "from the call to the rows, with the connection's check, BEGIN and COMMIT, without HTTP",
        "kept: in Redis; not kept: read from PostgreSQL and kept, which Redis writes to its disk",
        f"{USERS:,} users; purchases elsewhere are spread over {OTHER_SALES} sales",
        f"PostgreSQL has 32 MB of buffers of its own, and a database of {size} at the end",
    )


def _stages(database: psycopg.Connection[Any]) -> Iterator[Stage]:
    """Each after what it speaks of has been bought."""
    yield Stage(f"{FEW:,} here, {FEW:,} elsewhere", SMALL, FEW)
    for other in range(FIRST_OTHER + 1, FIRST_OTHER + 1 + OTHER_SALES):
        _buy(database, other, MANY // OTHER_SALES)
    _settle_down(database)
    yield Stage(f"{FEW:,} here, {MANY:,} elsewhere", SMALL, FEW)
    _buy(database, BIG, MANY)
    _settle_down(database)
    yield Stage(f"{MANY:,} here, {MANY:,} elsewhere", BIG, MANY)


def _measure(stage: Stage, rounds: int) -> dict[str, list[float]]:
    pages = _pages(stage)
    for page in pages.values():
        for _ in range(WARM_UP_CALLS):
            page.read()
    found: dict[str, list[float]] = {name: [] for name in pages}
    for _ in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in pages}
        for _ in range(CALLS_PER_ROUND):
            for name in random.sample(list(pages), len(pages)):
                pages[name].prepare()
                started_at = time.perf_counter()
                pages[name].read()
                times[name].append((time.perf_counter() - started_at) * 1000)
        for name, values in times.items():
            found[name].append(statistics.median(values))
    return found


def _pages(stage: Stage) -> dict[str, Page]:
    sale_id, middle = stage.sale_id, stage.purchases // 2
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


def _plans(stage: Stage) -> list[str]:
    place = _place_among_equals(stage.sale_id)
    asked: dict[str, tuple[TextClause, dict[str, int]]] = {
        "by admission, from the middle": (
            CHRONOLOGICAL,
            {"sale_id": stage.sale_id, "after": stage.purchases // 2, "limit": PAGE},
        ),
        "by totals, amid equals": (
            BY_TOTALS,
            {"sale_id": stage.sale_id, "units": place.units, "first_ticket": place.first_ticket, "limit": PAGE},
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
        found.append(f"the plan of “{name}”, with {stage.name}:\n\n  ```\n{plan}\n  ```")
    return found


def _as_psycopg(statement: TextClause) -> str:
    return str(statement.compile(engine()))


def _make_shop(database: psycopg.Connection[Any]) -> None:
    database.execute(
        "INSERT INTO users (name, email) SELECT 'Buyer ' || n, 'buyer' || n || '@example.com' "
        "FROM generate_series(1, %s) AS n",
        (USERS,),
    )
    database.execute("INSERT INTO products (name, slug, price) VALUES ('Bench', 'bench', 99.99)")
    database.execute(
        "INSERT INTO flash_sales (title, product_id, currency, total_stock, sold, starts_at, hold_seconds, state, "
        "end_reason) SELECT 'Bench', 1, 'USD', 0, 0, now(), 600, 'ended', 'sold-out' FROM generate_series(1, %s)",
        (FIRST_OTHER + OTHER_SALES,),
    )
    _settle_down(database)


def _buy(database: psycopg.Connection[Any], sale_id: int, purchases: int) -> None:
    """So many confirmed purchases of one or two units, by buyers in no order, with their totals."""
    database.execute(
        "INSERT INTO purchases (sale_id, ticket, user_id, kind, quantity, status, currency, nonce, admitted_at, "
        "settled_at, revision) SELECT %(sale)s, n, 1 + n * 7919 %% %(users)s, 'purchase', 1 + n %% 2, 'confirmed', "
        "'USD', '', now() + n * interval '1 ms', now(), 1 FROM generate_series(1, %(purchases)s::bigint) AS n",
        {"sale": sale_id, "users": USERS, "purchases": purchases},
    )
    database.execute(
        "INSERT INTO buyer_totals (sale_id, user_id, units, first_ticket) "
        "SELECT sale_id, user_id, sum(quantity), min(ticket) FROM purchases WHERE sale_id = %s GROUP BY 1, 2",
        (sale_id,),
    )


def _settle_down(database: psycopg.Connection[Any]) -> None:
    """What autovacuum would do in its own time."""
    database.execute("VACUUM (ANALYZE)")
    database.execute("CHECKPOINT")


@contextmanager
def _server() -> Iterator[tuple[psycopg.Connection[Any], dict[str, str]]]:
    """A migrated PostgreSQL and a Redis that the settings of this process point at."""
    with embedded_postgres() as postgres, embedded_valkey() as valkey:
        os.environ |= {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        }
        settings.cache_clear()
        command.upgrade(Config(toml_file=str(ROOT / "pyproject.toml")), "head")
        # Rows that are made here refer to what is there: nothing has to look for it.
        options = "-c session_replication_role=replica -c work_mem=256MB"
        with psycopg.connect(settings().psycopg_url, autocommit=True, options=options) as database:
            version = database.info.parameter_status("server_version") or "unknown"
            about: dict[str, Any] = redis_client().info("server")  # type: ignore[assignment]
            yield database, {"postgresql": version, "valkey": str(about.get("valkey_version", "unknown"))}
        engine().dispose()


BENCHMARK = Benchmark("leaderboard", f"a page of a leaderboard at {FEW:,} and at {MANY:,} purchases", run)
