"""The baselines' tables, in a database of their own on the same PostgreSQL, and the count of what was sold."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import redis
from psycopg import sql

from bench.stack import Stack
from ops.throwaway import embedded_valkey

DATABASE = "baselines"
URL_MARK, REDIS_MARK, POOL_MARK = "BENCH_BASELINE_URL", "BENCH_BASELINE_REDIS", "BENCH_BASELINE_POOL"

TABLES = """
    CREATE TABLE sales (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        total bigint NOT NULL,
        remaining bigint NOT NULL CHECK (remaining >= 0)
    );
    CREATE TABLE purchases (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        request text UNIQUE,
        sale_id bigint NOT NULL,
        user_id bigint NOT NULL,
        quantity bigint NOT NULL,
        confirmed boolean NOT NULL DEFAULT true,
        at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    CREATE INDEX ON purchases (sale_id, user_id);
"""
COUNT = """
    SELECT total, total - remaining,
           (SELECT coalesce(sum(quantity), 0) FROM purchases WHERE sale_id = sales.id AND confirmed)
    FROM sales WHERE id = %s
"""


@dataclass(frozen=True, slots=True)
class Count:
    """Units of a sale: how many there were, how many the sale's row counts as sold, and how many buyers have."""

    stock: int
    counted: int
    sold: int

    def __str__(self) -> str:
        if self.sold > self.stock:
            return f"OVERSOLD: {self.sold:,} sold of {self.stock:,}, {self.counted:,} counted"
        if self.sold != self.counted:
            return f"WRONG: {self.sold:,} sold, {self.counted:,} counted"
        return f"exact: {self.sold:,} sold and counted"

    @property
    def is_exact(self) -> bool:
        return self.sold == self.counted <= self.stock


class BaselineShop:
    """The baselines' database."""

    def __init__(self, url: str) -> None:
        self._database = psycopg.connect(url, autocommit=True)

    def new_sale(self, stock: int) -> int:
        """A sale of so many units; its id."""
        row = self._database.execute(
            "INSERT INTO sales (total, remaining) VALUES (%s, %s) RETURNING id", (stock, stock)
        ).fetchone()
        assert row is not None  # noqa: S101 - RETURNING
        return int(row[0])

    def count(self, sale_id: int) -> Count:
        row = self._database.execute(COUNT, (sale_id,)).fetchone()
        assert row is not None  # noqa: S101 - the sale is there
        return Count(*map(int, row))

    def answered(self, sale_id: int) -> tuple[int, float]:
        """How many requests of a sale have an outcome, and the seconds from the first of them to the last."""
        row = self._database.execute(
            "SELECT count(*), coalesce(extract(epoch FROM max(at) - min(at)), 0) FROM purchases WHERE sale_id = %s",
            (sale_id,),
        ).fetchone()
        return (int(row[0]), float(row[1])) if row else (0, 0.0)

    def close(self) -> None:
        self._database.close()


@contextmanager
def baseline_shop(stack: Stack) -> Iterator[BaselineShop]:
    """The tables, and a Redis for locks and Celery that writes to its disk once a second, as it comes by default."""
    with psycopg.connect(stack.settings.psycopg_url, autocommit=True) as database:
        database.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    url = stack.settings.psycopg_url.rpartition("/")[0] + f"/{DATABASE}"
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(TABLES)
    with embedded_valkey() as valkey:
        with redis.Redis.from_url(valkey.url) as client:
            client.config_set("appendfsync", "everysec")
        os.environ |= {URL_MARK: url, REDIS_MARK: valkey.url, POOL_MARK: "8"}
        shop = BaselineShop(url)
        try:
            yield shop
        finally:
            shop.close()
