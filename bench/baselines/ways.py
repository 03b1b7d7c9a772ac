"""Ways to sell units while the buyer waits: each takes (sale, user, quantity) and says whether they were sold.

Connections come from psycopg's pool, one for each request thread; statements are prepared by psycopg after some uses.
"""

import os

import psycopg
import redis
from psycopg_pool import ConnectionPool

from bench.baselines.shop import POOL_MARK, REDIS_MARK, URL_MARK
from models.once import once

WAIT_SECONDS_MAX = 20.0
LOCK_SECONDS = 10

TAKE = "UPDATE sales SET remaining = remaining - %(quantity)s WHERE id = %(sale)s AND remaining >= %(quantity)s"
WRITE = "INSERT INTO purchases (sale_id, user_id, quantity) VALUES (%(sale)s, %(user)s, %(quantity)s)"
IN_ONE = f"""
    WITH taken AS ({TAKE} RETURNING id)
    INSERT INTO purchases (sale_id, user_id, quantity) SELECT id, %(user)s, %(quantity)s FROM taken
"""  # noqa: S608 - our own words
LOOK = "SELECT remaining FROM sales WHERE id = %(sale)s"
PUT = "UPDATE sales SET remaining = %(left)s WHERE id = %(sale)s"


@once
def pool() -> ConnectionPool[psycopg.Connection]:
    """This process's connections."""
    size = int(os.environ[POOL_MARK])
    return ConnectionPool(
        os.environ[URL_MARK],
        min_size=size,
        max_size=size,
        timeout=WAIT_SECONDS_MAX,
        kwargs={"autocommit": True},
        open=True,
    )


@once
def locks() -> redis.Redis:
    return redis.Redis.from_url(os.environ[REDIS_MARK], socket_timeout=WAIT_SECONDS_MAX)


def one_statement(sale: int, user: int, quantity: int) -> bool:
    """Take and write in one statement and one trip: the least that PostgreSQL can be asked for."""
    with pool().connection() as database:
        return database.execute(IN_ONE, {"sale": sale, "user": user, "quantity": quantity}).rowcount == 1


def update_then_insert(sale: int, user: int, quantity: int) -> bool:
    """Take if there is enough, then write, in one transaction."""
    values = {"sale": sale, "user": user, "quantity": quantity}
    with pool().connection() as database, database.transaction():
        if database.execute(TAKE, values).rowcount == 0:
            return False
        database.execute(WRITE, values)
        return True


def select_for_update(sale: int, user: int, quantity: int) -> bool:
    """Lock the row, look, take, write."""
    with pool().connection() as database, database.transaction():
        return _look_and_take(database, f"{LOOK} FOR UPDATE", sale, user, quantity)


def redis_lock(sale: int, user: int, quantity: int) -> bool:
    """A lock in Redis around a plain read and a plain write."""
    with (
        locks().lock(f"lock:{sale}", timeout=LOCK_SECONDS, blocking_timeout=WAIT_SECONDS_MAX),
        pool().connection() as database,
        database.transaction(),
    ):
        return _look_and_take(database, LOOK, sale, user, quantity)


def unguarded(sale: int, user: int, quantity: int) -> bool:
    """The control: a plain read and a plain write with nothing around them. It oversells."""
    with pool().connection() as database, database.transaction():
        return _look_and_take(database, LOOK, sale, user, quantity)


def _look_and_take(database: psycopg.Connection, look: str, sale: int, user: int, quantity: int) -> bool:
    row = database.execute(look, {"sale": sale}).fetchone()
    if row is None or row[0] < quantity:
        return False
    database.execute(PUT, {"sale": sale, "left": row[0] - quantity})
    database.execute(WRITE, {"sale": sale, "user": user, "quantity": quantity})
    return True


WAYS = {
    "one-statement": one_statement,
    "update-then-insert": update_then_insert,
    "select-for-update": select_for_update,
    "redis-lock": redis_lock,
    "unguarded": unguarded,
}
