import pytest

from models import rediskeys
from models.redisclient import redis_client
from models.settings import settings


@pytest.fixture
def _heartbeats(store):
    redis_client().set(rediskeys.worker_heartbeat("settle@here"), "settlements")
    redis_client().set(rediskeys.BEAT_HEARTBEAT, "1")


def _checks(answer):
    return answer.json["data"]["checks"]


@pytest.mark.usefixtures("_heartbeats")
def test_all_is_up(client):
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert _checks(answer) == dict.fromkeys(["database", "migrations", "redis", "settleWorker", "beat"], "up")


@pytest.mark.parametrize(
    ("key", "part"),
    [(rediskeys.worker_heartbeat("settle@here"), "settleWorker"), (rediskeys.BEAT_HEARTBEAT, "beat")],
)
@pytest.mark.usefixtures("_heartbeats")
def test_a_heart_that_stopped_is_named(client, key, part):
    redis_client().delete(key)

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json["code"]) == (503, "NOT_READY")
    assert {name for name, state in _checks(answer).items() if state != "up"} == {part}


@pytest.mark.usefixtures("_heartbeats")
def test_a_worker_is_found_among_many_keys(client):
    redis_client().mset({f"{{sale:7}}:key:{number}:x": 1 for number in range(20_000)})

    assert client.get("/readyz").status_code == 200


@pytest.mark.usefixtures("_heartbeats")
def test_migrations_that_were_not_run_are_named(client, monkeypatch):
    monkeypatch.setattr("models.readiness._newest_migration", lambda: "9999")

    answer = client.get("/readyz")

    assert {name: state for name, state in _checks(answer).items() if state != "up"} == {"migrations": "behind"}


@pytest.mark.usefixtures("_heartbeats")
def test_a_database_that_is_away_makes_nothing_wait(client, change_settings):
    change_settings(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert _checks(answer)["database"] == "down"
    assert "127.0.0.1" not in answer.text
    assert client.get("/healthz").status_code == 200


def test_health_asks_nobody(client, monkeypatch):
    monkeypatch.setattr("models.readiness.psycopg.connect", None)
    monkeypatch.setattr("models.readiness.redis_client", None)

    assert settings() is not None
    assert client.get("/healthz").json == {"success": True, "message": "alive", "data": None}
