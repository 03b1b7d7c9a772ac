"""A PostgreSQL full of purchases that it wrote by itself, in bulk; with a Redis, and one process that works on both."""

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import psycopg
import redis
from alembic import command
from alembic.config import Config

from bench.sizes import size
from bench.surroundings import ROOT
from models.settings import settings
from ops.throwaway import embedded_postgres, embedded_valkey

USERS = size(1_000_000, 1_000)
OTHER_SALES = 50
FIRST_OTHER = 3


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


def buy(database: psycopg.Connection[Any], sale_id: int, purchases: int) -> None:
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


@dataclass(frozen=True, slots=True)
class Server:
    """A filled server, and the one process that reads from it."""

    reader: ProcessPoolExecutor
    versions: dict[str, str]
    size: str


@contextmanager
def filled_server(fill: Callable[[psycopg.Connection[Any]], None]) -> Iterator[Server]:
    """A migrated and filled PostgreSQL with a Redis beside it."""
    with embedded_postgres() as postgres, embedded_valkey() as valkey:
        environment = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
            # Counting millions afterwards takes longer than anything that the shop asks for.
            "DATABASE_STATEMENT_MS": "300000",
        }
        _use(environment)
        command.upgrade(Config(toml_file=str(ROOT / "pyproject.toml")), "head")
        # Rows that are made here refer to what is there: nothing has to look for it.
        options = "-c session_replication_role=replica -c work_mem=256MB"
        with psycopg.connect(settings().psycopg_url, autocommit=True, options=options) as database:
            _make_shop(database)
            fill(database)
            _settle_down(database)
            version = database.info.parameter_status("server_version") or "unknown"
            size = database.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()
        with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
            about = client.info("server")
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=_use, initargs=(environment,)) as reader:
            versions = {"postgresql": version, "valkey": str(about.get("valkey_version", "unknown"))}
            yield Server(reader, versions, size[0] if size else "unknown size")


def _use(environment: dict[str, str]) -> None:
    """Point the settings of this process at a server."""
    os.environ |= environment
    settings.cache_clear()
