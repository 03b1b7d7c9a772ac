"""Faults of PostgreSQL: killed, without a free connection, in deadlocks, locked, with its disk full."""

import asyncio
import time
from contextlib import suppress

import psycopg

from tests.faults.kinds import Site, fault
from tests.faults.stack import RIG

# What PostgreSQL raises, by its SQLSTATE.
DEADLOCK = "40P01"
SERIALIZATION = "40001"
DISK_FULL = "53100"

TAKERS = 4

# Fails a share of all changes to sales with an error that a busy PostgreSQL could have raised by itself.
INJECT = """
    CREATE OR REPLACE FUNCTION faults_inject() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF random() < {share} THEN
            RAISE EXCEPTION 'injected by the fault rig' USING ERRCODE = '{state}';
        END IF;
        RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER faults_inject BEFORE UPDATE ON flash_sales
        FOR EACH ROW EXECUTE FUNCTION faults_inject();
"""
WITHDRAW = "DROP TRIGGER IF EXISTS faults_inject ON flash_sales"
END_ALL_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name <> %s
"""


@fault("kill-postgres", "kill -9 of PostgreSQL, back after up to three seconds")
async def kill_postgres(site: Site) -> None:
    await asyncio.to_thread(site.stack.postgres.kill)
    await site.hold(0.0, 3.0)
    await asyncio.to_thread(site.stack.revive)


@fault("end-sessions", "every session of PostgreSQL ended by an operator", may_be_second=True)
async def end_sessions(site: Site) -> None:
    await asyncio.to_thread(_end_sessions, site)


def _end_sessions(site: Site) -> None:
    with suppress(psycopg.OperationalError), site.stack.sql(autocommit=True) as connection:
        connection.execute(END_ALL_OTHERS, (RIG,))


@fault("no-connections", "PostgreSQL has no connection left for anybody")
async def no_connections(site: Site) -> None:
    taken: list[psycopg.Connection] = []
    try:
        takers = (asyncio.to_thread(_take_until_refused, site, taken) for _ in range(TAKERS))
        await asyncio.gather(*takers)
        await asyncio.to_thread(_put_out, taken)
        await asyncio.to_thread(_keep_all_places, site, taken, time.monotonic() + site.rng.uniform(2.0, 4.0))
        site.notes.append(f"{len(taken)} connections taken")
    finally:
        for connection in taken:
            connection.close()


def _connect(site: Site) -> psycopg.Connection:
    return psycopg.connect(site.stack.postgres.url, application_name=RIG, autocommit=True, connect_timeout=2)


def _take_until_refused(site: Site, taken: list[psycopg.Connection]) -> None:
    with suppress(psycopg.OperationalError):
        while True:
            taken.append(_connect(site))


def _keep_all_places(site: Site, taken: list[psycopg.Connection], end: float) -> None:
    """Take each place that falls free, until `end` (the rig's monotonic clock)."""
    while time.monotonic() < end:
        try:
            taken.append(_connect(site))
        except psycopg.OperationalError:
            time.sleep(0.05)


def _put_out(taken: list[psycopg.Connection]) -> None:
    """End everybody else's sessions: they come back, and find no place."""
    with suppress(psycopg.OperationalError):
        if taken:
            taken[0].execute(END_ALL_OTHERS, (RIG,))


@fault("deadlock", "half of all changes of sales end as a deadlock's victim")
async def deadlock(site: Site) -> None:
    await _injected(site, DEADLOCK)


@fault("serialization", "half of all changes of sales end in a serialization failure")
async def serialization(site: Site) -> None:
    await _injected(site, SERIALIZATION)


async def _injected(site: Site, state: str) -> None:
    await asyncio.to_thread(_execute, site, INJECT.format(share=0.5, state=state))
    await site.hold(2.0, 4.0)
    await asyncio.to_thread(_execute, site, WITHDRAW)


@fault("sale-locked", "somebody else holds a sale's row for longer than anybody waits for it")
async def sale_locked(site: Site) -> None:
    await asyncio.to_thread(_lock, site, site.sale_ids[0], site.rng.uniform(4.0, 6.0))


def _lock(site: Site, sale_id: int, seconds: float) -> None:
    with suppress(psycopg.OperationalError), site.stack.sql() as connection:
        connection.execute("SELECT 1 FROM flash_sales WHERE id = %s FOR UPDATE", (sale_id,))
        time.sleep(seconds)
        connection.rollback()


@fault("disk-full", "the disk with PostgreSQL's data is full")
async def disk_full(site: Site) -> None:
    """On a disk of its own where there is one; else its error, as PostgreSQL would raise it."""
    if not site.stack.disk.is_real:
        site.notes.append("no disk could be mounted: its error injected")
        await asyncio.to_thread(_execute, site, INJECT.format(share=1.0, state=DISK_FULL))
        await site.hold(2.0, 4.0)
        await asyncio.to_thread(_execute, site, WITHDRAW)
        return
    site.notes.append("a real disk filled")
    try:
        await asyncio.to_thread(site.stack.disk.fill)
        await site.hold(2.0, 4.0)
    finally:
        await asyncio.to_thread(site.stack.disk.free)
    # A PostgreSQL that cannot write its log gives up; a supervisor starts it again.
    await asyncio.to_thread(site.stack.revive)


def _execute(site: Site, statement: str) -> None:
    for _ in range(100):
        try:
            with site.stack.sql(autocommit=True) as connection:
                connection.execute(statement)
        except psycopg.OperationalError:
            time.sleep(0.1)  # another fault has it
        else:
            return
