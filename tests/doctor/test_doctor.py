"""A healthy stack has no finding; of each server that is broken, the fault is found and named. Really broken."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
import redis
import time_machine
from sqlalchemy import text

from models.clock import now
from models.database import engine, transaction
from models.doctor import examine
from models.redisclient import redis_client
from ops.postgres import EmbeddedPostgres
from ops.throwaway import embedded_valkey
from tests.doctor.conftest import CRITICAL, WARNED, eventually, redis_setting


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
        theirs = connection.info.backend_pid

        found = [finding for finding in examine() if finding.code == "POSTGRES_OLD_TRANSACTION"]

    # The shop's own may be in the middle of one at this moment, too.
    [old] = [finding for finding in found if "somebody" in finding.what]
    assert f"pg_terminate_backend({theirs})" in old.cure
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


def test_for_people_each_finding_has_its_cure_below(healthy, app_runner):
    redis_client().config_set("appendfsync", "everysec")
    try:
        result = app_runner.invoke(args=["doctor"])
    finally:
        redis_client().config_set("appendfsync", "always")

    assert result.exit_code == CRITICAL
    assert "CRITICAL REDIS_NOT_FSYNCED: Redis answers before the disk has it" in result.output
    assert "cure: CONFIG SET appendfsync always" in result.output
