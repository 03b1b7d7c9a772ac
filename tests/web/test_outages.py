"""What goes on and what waits while Redis or PostgreSQL is away."""

from decimal import Decimal

import pytest
import time_machine
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from models.clock import now
from models.database import engine, transaction
from models.redisclient import redis_client
from models.tokens import issue_refresh_token


@pytest.fixture
def _without_redis(store):
    """Redis is killed for the time of the test, and comes back empty or not, but back."""
    store.valkey.kill()
    yield
    store.valkey.start()
    redis_client().connection_pool.disconnect()


@pytest.mark.usefixtures("_without_redis")
class TestWithoutRedis:
    """docs/decisions/0004-revocation-when-redis-is-away.md"""

    def test_reading_goes_on_for_everybody(self, client, customer, auth):
        assert client.get("/api/products").status_code == 200
        assert client.get("/api/users/me", headers=auth(customer)).status_code == 200

    def test_writing_behind_a_token_waits_because_nobody_knows_whether_it_was_revoked(self, client, admin):
        answer = client.post("/api/products", headers=admin, json={"name": "Shoe"})

        assert (answer.status_code, answer.json["code"]) == (503, "TOKEN_CHECK_UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) >= 1
        assert client.get("/api/products").json["meta"]["total"] == 0

    def test_a_bad_token_is_bad_all_the_same(self, client):
        assert client.post("/api/products", headers={"Authorization": "Bearer x.y.z"}).status_code == 401

    def test_refreshing_waits(self, client, customer):
        answer = client.post("/api/auth/refresh", json={"refreshToken": issue_refresh_token(customer.id, "customer")})

        assert (answer.status_code, answer.json["code"]) == (503, "UNAVAILABLE")

    def test_customers_log_in_and_wrong_passwords_are_still_limited(self, client, customer, change_settings):
        change_settings(RATE_LIMIT_LOGIN_ADDRESS="2/minute")

        def log_in(password):
            return client.post("/api/auth/login", json={"email": customer.email, "password": password}).status_code

        # The limiter of a process on its own counts by the minute of the clock: none turns here.
        with time_machine.travel(now().replace(second=1, microsecond=0)):
            assert log_in("customer123") == 200
            assert [log_in("wrong") for _ in range(3)] == [401, 401, 429]

    def test_the_part_that_is_away_is_named(self, client):
        checks = client.get("/readyz").json["data"]["checks"]

        assert checks == {
            "database": "up",
            "migrations": "up",
            "redis": "down",
            "settleWorker": "unknown",
            "beat": "unknown",
        }


def test_without_postgresql_the_answer_is_to_come_back(client, store):
    with transaction() as session:
        session.execute(text("SELECT 1"))
    store.postgres.kill()
    try:
        answer = client.get("/api/products")
    finally:
        store.postgres.start()
        engine().dispose()

    assert (answer.status_code, answer.json["code"]) == (503, "UNAVAILABLE")
    assert answer.headers["Retry-After"] == "1"
    assert "psycopg" not in answer.text
    assert client.get("/api/products").status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RedisConnectionError("redis://:secret@here:6379 refused"), 503, "UNAVAILABLE"),
        (OperationalError("SELECT secret", {}, Exception("canceling statement")), 503, "UNAVAILABLE"),
        (ZeroDivisionError("secret"), 500, "INTERNAL_ERROR"),
        (AssertionError("secret"), 500, "INTERNAL_ERROR"),
    ],
)
def test_what_breaks_inside_stays_inside(client, monkeypatch, error, status, code):
    def break_down(_query):
        raise error

    monkeypatch.setattr("models.catalogue.list_products", break_down)

    answer = client.get("/api/products")

    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert "secret" not in answer.text
    assert answer.headers["X-Request-Id"]


def test_a_value_that_no_column_can_hold_is_the_senders_mistake(client, admin, monkeypatch):
    monkeypatch.setattr("web.fields.PRICE_MAX", Decimal("1e15"))

    answer = client.post("/api/products", headers=admin, json={"name": "Shoe", "price": 1e12})

    assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_ERROR")
