"""A healthy stack has no finding; of each that is broken, the fault is found and named. Real servers, really broken."""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
import redis
import time_machine
from sqlalchemy import text

from models import rediskeys
from models.clock import now
from models.database import engine, transaction
from models.doctor import examine
from models.gate import admit
from models.movement import StockMovement
from models.purchase import Kind
from models.redisclient import redis_client
from models.sale import SaleState
from ops.postgres import EmbeddedPostgres
from ops.throwaway import embedded_valkey
from tests.doctor.conftest import eventually

WARNED, CRITICAL = 1, 2


@contextmanager
def redis_setting(name: str, value: str) -> Iterator[None]:
    before = redis_client().config_get(name)[name]
    redis_client().config_set(name, value)
    try:
        yield
    finally:
        redis_client().config_set(name, before)


@contextmanager
def postgres_setting(postgres: EmbeddedPostgres, name: str, value: str) -> Iterator[None]:
    def alter(how: str) -> None:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM {how}")
            connection.execute("SELECT pg_reload_conf()")
        eventually(lambda: (shown(postgres, name) == value) == how.startswith("SET"), f"{name} is in force")

    alter(f"SET {name} = {value}")
    try:
        yield
    finally:
        alter(f"RESET {name}")


def shown(postgres: EmbeddedPostgres, name: str) -> str:
    with psycopg.connect(postgres.url) as connection:
        return str(connection.execute(f"SHOW {name}").fetchone()[0])


@contextmanager
def stopped(shop, name: str) -> Iterator[None]:
    shop.stop_process(name)
    try:
        yield
    finally:
        shop.start_process(name)


def test_a_healthy_stack_has_no_finding(healthy, doctor, make_sale):
    make_sale(total_stock=200, opens_in=timedelta(minutes=5))

    assert doctor() == (0, {})


# Redis


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("appendonly", "no", "REDIS_NOT_APPENDING"),
        ("appendfsync", "everysec", "REDIS_NOT_FSYNCED"),
        ("maxmemory-policy", "allkeys-lru", "REDIS_EVICTS"),
    ],
)
def test_a_redis_that_may_lose_what_waits_is_found(healthy, doctor, setting, value, code):
    with redis_setting(setting, value):
        status, found = doctor()

    assert status == CRITICAL
    assert list(found) == [code]


def test_a_redis_that_is_nearly_full_is_found(healthy, doctor):
    used = redis_client().info("memory")["used_memory"]
    with redis_setting("maxmemory", str(int(used * 1.3))):
        status, found = doctor()

    assert (status, list(found)) == (WARNED, ["REDIS_MEMORY_TIGHT"])


def test_a_redis_that_is_a_replica_is_found(healthy, doctor):
    with embedded_valkey() as other, redis.Redis.from_url(other.url) as client:
        client.replicaof("127.0.0.1", "1")

        status, found = doctor(REDIS_URL=other.url)

    assert status == CRITICAL
    assert "REDIS_READ_ONLY" in found


def test_a_redis_that_is_away_is_found_and_the_rest_is_examined(healthy, doctor):
    status, found = doctor(REDIS_URL="redis://127.0.0.1:1/0", DATABASE_POOL_SIZE="100")

    assert status == CRITICAL
    assert set(found) == {"REDIS_AWAY", "POSTGRES_FEW_CONNECTIONS"}


# PostgreSQL


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("fsync", "POSTGRES_NOT_FSYNCED"),
        ("synchronous_commit", "POSTGRES_COMMITS_EARLY"),
        ("full_page_writes", "POSTGRES_TORN_PAGES"),
    ],
)
def test_a_postgres_that_may_lose_a_commit_is_found(healthy, doctor, servers, setting, code):
    with postgres_setting(servers.postgres, setting, "off"):
        status, found = doctor()

    assert (status, list(found)) == (CRITICAL, [code])


def test_more_connections_than_postgres_has_room_for_are_found(healthy, doctor):
    status, found = doctor(DATABASE_POOL_SIZE="100")

    assert (status, list(found)) == (CRITICAL, ["POSTGRES_FEW_CONNECTIONS"])


def test_a_rescue_that_comes_too_late_is_found(healthy, doctor):
    status, found = doctor(DATABASE_IDLE_IN_TRANSACTION_MS="600000")

    assert (status, list(found)) == (WARNED, ["POSTGRES_LATE_RESCUE"])


def test_a_postgres_that_is_away_is_found_and_the_rest_is_examined(healthy, doctor):
    with redis_setting("appendfsync", "no"):
        status, found = doctor(DATABASE_URL="postgresql://doorbuster@127.0.0.1:1/doorbuster")

    assert status == CRITICAL
    assert set(found) == {"POSTGRES_AWAY", "REDIS_NOT_FSYNCED"}


def test_a_database_that_nobody_migrated_is_found(healthy, doctor):
    with transaction() as session:
        head = session.scalar(text("SELECT version_num FROM alembic_version"))
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        status, found = doctor()
    finally:
        with transaction() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})

    assert (status, list(found)) == (CRITICAL, ["MIGRATIONS_BEHIND"])


def test_a_transaction_that_nobody_ends_is_found(healthy, doctor, servers, monkeypatch):
    monkeypatch.setattr("models.doctor.postgres_server.OLD_TRANSACTION_SECONDS", 0)
    with psycopg.connect(servers.postgres.url, application_name="somebody") as connection:
        connection.execute("SELECT 1")

        found = {finding.code: finding for finding in examine()}

    assert "somebody" in found["POSTGRES_OLD_TRANSACTION"].what
    assert "pg_terminate_backend" in found["POSTGRES_OLD_TRANSACTION"].cure
    engine().dispose()


# Clocks, secrets, the machine


@pytest.mark.parametrize(("seconds", "severity"), [(2, "warning"), (-60, "critical")])
def test_a_clock_of_this_machine_that_is_wrong_is_found(healthy, seconds, severity):
    with time_machine.travel(now() + timedelta(seconds=seconds)):
        found = [finding for finding in examine() if finding.code == "CLOCK_SKEW"]

    # Those of Redis and PostgreSQL agree with each other.
    assert [finding.severity for finding in found] == [severity] * 2


def test_a_key_that_can_be_guessed_is_found(healthy, doctor):
    status, found = doctor(JWT_SECRET_KEY="0123" * 10)

    assert (status, list(found)) == (CRITICAL, ["SECRET_GUESSABLE"])


def test_production_without_a_proxy_that_is_trusted_is_found(healthy, doctor):
    status, found = doctor(ENVIRONMENT="production", FLOWER_BASIC_AUTH=f"watch:{secrets.token_urlsafe(18)}")

    assert (status, list(found)) == (WARNED, ["NO_TRUSTED_PROXY"])


def test_a_disk_that_is_full_is_found(tmp_path, monkeypatch):
    from models.doctor import machine  # noqa: PLC0415

    assert list(machine.disk(tmp_path / "somewhere else")) == []
    full = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    monkeypatch.setattr(machine, "FREE_BYTES_MIN", full + 1)

    assert [finding.code for finding in machine.disk(tmp_path)] == ["DISK_FULL"]


# Who works


def test_nobody_who_settles_is_found(healthy, doctor):
    with stopped(healthy, "worker"):
        eventually(lambda: "NO_SETTLE_WORKER" in doctor()[1], "the heartbeat has run out")
        status, found = doctor()

    assert status == CRITICAL
    assert set(found) == {"NO_SETTLE_WORKER", "WORKER_SILENT"}


def test_a_beat_that_is_silent_is_found(healthy, doctor):
    with stopped(healthy, "beat"):
        eventually(lambda: not redis_client().exists(rediskeys.BEAT_HEARTBEAT), "its last tick has run out")
        status, found = doctor()

    assert (status, list(found)) == (CRITICAL, ["BEAT_SILENT"])


def test_a_worker_that_hangs_is_found(healthy, doctor):
    healthy.signal("chores", signal.SIGSTOP)
    try:
        eventually(lambda: "NO_CHORES_WORKER" in doctor()[1], "its heartbeat has run out")
    finally:
        healthy.signal("chores", signal.SIGCONT)


def test_a_broker_that_is_away_is_found(healthy, doctor):
    status, found = doctor(BROKER_URL="amqp://127.0.0.1:1//")

    assert (status, list(found)) == (CRITICAL, ["BROKER_AWAY"])


def test_a_sale_whose_own_worker_was_never_started_is_found(healthy, doctor, make_sale):
    sale = make_sale(opens_in=timedelta(minutes=5), dedicated=True)

    status, found = doctor()

    assert (status, list(found)) == (WARNED, ["NO_DEDICATED_WORKER"])
    assert f"--queues sale.{sale.id}" in found["NO_DEDICATED_WORKER"]["cure"]


# Sales


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"total_stock": 0}, "has no stock"),
        ({"total_stock": 5, "max_per_user": 6}, "lets one buyer have 6 (maxPerUser) of 5 units"),
        ({"total_stock": 5, "max_per_purchase": 6}, "lets one buyer have 6 (maxPerPurchase) of 5 units"),
        ({"max_per_purchase": 3, "max_per_user": 2}, "allows more in one purchase than to one buyer"),
        ({"flash_price": None, "original_price": None}, "has no price"),
        ({"lasts": timedelta(seconds=5), "hold_seconds": 1}, "lasts 5 s"),
        ({"lasts": timedelta(minutes=1), "hold_seconds": 600}, "is over before its holds are"),
        ({"paused": True}, "is paused"),
    ],
)
def test_a_sale_that_cannot_be_meant_so_is_found(healthy, doctor, make_sale, odd, said):
    make_sale(opens_in=timedelta(hours=1), **odd)

    status, found = doctor()

    assert (status, list(found)) == (WARNED, ["SALE_ODD"])
    assert said in found["SALE_ODD"]["what"]


def test_a_sale_that_nobody_opened_is_found(healthy, doctor, make_sale):
    with stopped(healthy, "chores"):
        make_sale(opens_in=timedelta(seconds=-60), state=SaleState.SCHEDULED)
        status, found = doctor()

    assert status == CRITICAL
    assert "is scheduled 6" in found["SALE_LATE"]["what"]


def test_books_that_disagree_are_found(healthy, doctor, make_sale):
    make_sale(total_stock=10)
    with transaction() as session:
        session.query(StockMovement).delete()

    status, found = doctor()

    assert (status, list(found)) == (CRITICAL, ["AUDIT_DISAGREES"])
    assert "totalStock" in found["AUDIT_DISAGREES"]["what"]


def test_a_line_that_nobody_works_off_is_found(healthy, doctor, make_sale):
    sale = make_sale(total_stock=10)
    with stopped(healthy, "worker"):
        entry = {"u": 1, "k": "p", "q": 1, "n": "a nonce", "t": 1}
        redis_client().xadd(rediskeys.mailbox(sale.id), entry, id="0-1")
        status, found = doctor()

    assert status == CRITICAL
    assert f"a request for sale {sale.id} has waited" in found["LINE_STUCK"]["what"]


def test_a_redis_that_knows_more_than_postgres_is_found(healthy, doctor, make_sale):
    sale = make_sale(total_stock=10)
    redis_client().hset(rediskeys.view(sale.id), "revision", 99)

    status, found = doctor()

    assert (status, list(found)) == (CRITICAL, ["RESTORED_APART"])


# The crowd


def test_a_crowd_that_fits_is_no_finding(healthy, doctor, make_sale):
    sale = make_sale(opens_in=timedelta(minutes=5))

    assert doctor("--sale", str(sale.id), "--crowd", "2000") == (0, {})


def test_a_crowd_that_is_too_large_is_told_what_it_would_take(healthy, doctor, make_sale):
    sale = make_sale(opens_in=timedelta(minutes=5))

    status, found = doctor("--sale", str(sale.id), "--crowd", "300000")

    assert status == WARNED
    assert set(found) == {"LINE_SHORT", "DOOR_NARROW", "SOCKETS_FEW"}
    assert found["LINE_SHORT"]["cure"] == "LINE_MAX=600000"
    assert "WEB_WORKERS=" in found["DOOR_NARROW"]["cure"]


def test_a_line_that_redis_has_no_memory_for_is_found(healthy, doctor):
    with redis_setting("maxmemory", str(100 << 20)):
        status, found = doctor("--crowd", "200000", WEB_WORKERS="16", LIVE_WORKERS="40", DATABASE_POOL_SIZE="2")

    # Whether so many sockets are found to be too few is a matter of what was measured.
    assert (status, found.keys() - {"SOCKETS_FEW"}) == (CRITICAL, {"REDIS_MEMORY_SHORT"})


def test_a_request_in_the_line_takes_no_more_memory_than_is_counted_on(store, make_sale):
    from models.doctor.capacity import BYTES_PER_REQUEST  # noqa: PLC0415

    sale = make_sale(total_stock=10_000)
    admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="the first")
    before = redis_client().info("memory")["used_memory"]
    for user in range(2, 3_002):
        admit(sale.id, user, Kind.PURCHASE, 1, idempotency_key="7b1f3c1e-8f3e-4f6e-9d55-0d6a5a1f2b3c")

    taken = (redis_client().info("memory")["used_memory"] - before) / 3_000

    assert BYTES_PER_REQUEST / 6 < taken < BYTES_PER_REQUEST


def test_a_sale_that_is_not_there_is_said_to_be(healthy, doctor):
    assert list(doctor("--sale", "4711", "--crowd", "10")[1]) == ["SALE_UNKNOWN"]


def test_for_people_each_finding_has_its_cure_below(healthy, app_runner):
    redis_client().config_set("appendfsync", "everysec")
    try:
        result = app_runner.invoke(args=["doctor"])
    finally:
        redis_client().config_set("appendfsync", "always")

    assert result.exit_code == CRITICAL
    assert "CRITICAL REDIS_NOT_FSYNCED: Redis answers before the disk has it" in result.output
    assert "cure: CONFIG SET appendfsync always" in result.output
