"""PostgreSQL as the truth: what it commits stays, nobody sleeps with a lock in hand, and there is room for us all."""

from collections.abc import Iterator
from typing import Any

import psycopg
from sqlalchemy import text

from models.database import transaction
from models.doctor.finding import Finding, critical, warning
from models.readiness import CONNECT_SECONDS, UP, check_database
from models.settings import settings

VERSION_MIN = 150_000
# Celery processes beside those that settle: chores, beat, Flower.
OTHER_PROCESSES = 3
# From here on a worker that stalls with a sale in hand holds up its line for too long.
STALL_MS_MAX = 30_000
OLD_TRANSACTION_SECONDS = 60

# The settings that a promise rests on.
PROMISES = text("""
    SELECT name, setting FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'max_connections',
                   'superuser_reserved_connections', 'server_version_num', 'data_checksums')
""")
# What our own connections are bound by: a pooler may drop what we ask for. In milliseconds.
BOUNDS = text("""
    SELECT name, setting::bigint FROM pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')
""")
# Sessions whose transaction has been open for too long, with what they last said.
OLD_TRANSACTIONS = text("""
    SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::bigint, coalesce(application_name, '')
    FROM pg_stat_activity
    WHERE xact_start < clock_timestamp() - make_interval(secs => :seconds) AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'
    ORDER BY xact_start LIMIT 5
""")


def away() -> Finding | None:
    try:
        psycopg.connect(settings().psycopg_url, connect_timeout=CONNECT_SECONDS).close()
    except psycopg.Error as error:
        return went_away(error)
    return None


def went_away(error: Exception) -> Finding:
    what = f"PostgreSQL does not answer ({type(error).__name__})"
    return critical("POSTGRES_AWAY", what, "start it, or mend DATABASE_URL; requests wait in their lines until then")


def look() -> Iterator[Finding]:
    with transaction() as session:
        known: dict[str, str] = {row.name: row.setting for row in session.execute(PROMISES)}
        bounds: dict[str, int] = {name: int(value) for name, value in session.execute(BOUNDS)}
        standby = bool(session.scalar(text("SELECT pg_is_in_recovery()")))
        old = session.execute(OLD_TRANSACTIONS, {"seconds": OLD_TRANSACTION_SECONDS}).all()
    if int(known["server_version_num"]) < VERSION_MIN:
        yield critical("POSTGRES_OLD", f"PostgreSQL is {known['server_version_num']}", "PostgreSQL 15 or later")
    if standby:
        yield critical("POSTGRES_READ_ONLY", "DATABASE_URL names a standby", "name the primary, or promote this one")
    yield from _durability(known)
    yield from _bounds(bounds)
    yield from _room(known)
    yield from (_old_transaction(*row) for row in old)
    if check_database()["migrations"] != UP:
        what = "the database is not at the newest migration"
        yield critical("MIGRATIONS_BEHIND", what, "`make migrate`, or `alembic upgrade head`")


def _durability(known: dict[str, str]) -> Iterator[Finding]:
    if known["fsync"] != "on":
        what = "PostgreSQL does not wait for the disk (fsync off): a power cut may leave it unreadable"
        yield critical("POSTGRES_NOT_FSYNCED", what, "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()")
    if known["full_page_writes"] != "on":
        what = "PostgreSQL does not write full pages: a power cut may leave half of one"
        yield critical("POSTGRES_TORN_PAGES", what, "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf()")
    if known["synchronous_commit"] == "off":
        what = "PostgreSQL commits before the disk has it (synchronous_commit off): told outcomes may be lost"
        cure = "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf()"
        yield critical("POSTGRES_COMMITS_EARLY", what, cure)
    if known["data_checksums"] != "on":
        what = "PostgreSQL does not notice a page that its disk has spoilt (data_checksums off)"
        yield warning("POSTGRES_NO_CHECKSUMS", what, "pg_checksums --enable, with the server stopped")


def _bounds(bounds: dict[str, int]) -> Iterator[Finding]:
    wanted = settings()
    asked = {
        "statement_timeout": wanted.database_statement_ms,
        "lock_timeout": wanted.database_lock_ms,
        "idle_in_transaction_session_timeout": wanted.database_idle_in_transaction_ms,
    }
    dropped = [name for name, value in asked.items() if bounds.get(name) != value]
    if dropped:
        what = f"our connections do not get the bounds that they ask for: {', '.join(dropped)}"
        cure = "DATABASE_POOLED=true, where a pooler lends the connections"
        yield critical("POSTGRES_BOUNDS_DROPPED", what, cure)
    stall_ms = max(asked["statement_timeout"], asked["idle_in_transaction_session_timeout"])
    if stall_ms > STALL_MS_MAX:
        what = f"a worker that stalls may hold a sale for {stall_ms // 1000} s"
        cure = "DATABASE_STATEMENT_MS and DATABASE_IDLE_IN_TRANSACTION_MS of 5000"
        yield warning("POSTGRES_LATE_RESCUE", what, cure)


def _room(known: dict[str, str]) -> Iterator[Finding]:
    wanted = settings()
    processes = wanted.web_workers + wanted.live_workers + wanted.settle_workers + OTHER_PROCESSES
    needed = processes * wanted.database_pool_size
    room = int(known["max_connections"]) - int(known["superuser_reserved_connections"])
    if needed > room:
        what = f"{processes} processes may open {needed} connections, and PostgreSQL has room for {room}"
        cure = "raise max_connections, lower DATABASE_POOL_SIZE, or put a pooler in between"
        yield critical("POSTGRES_FEW_CONNECTIONS", what, cure)


def _old_transaction(pid: int, seconds: int, name: Any) -> Finding:
    what = f"session {pid} {name} has had a transaction open for {seconds} s".replace("  ", " ")
    cure = f"if it is nobody's: SELECT pg_terminate_backend({pid})"
    return warning("POSTGRES_OLD_TRANSACTION", what, cure)
