import re

import pytest

from models import rediskeys
from models.gate import admit
from models.heartbeats import beat
from models.purchase import Kind
from models.redisclient import redis_client
from models.settings import settings


@pytest.fixture
def _heartbeats(store):
    beat("settle@here", ["settlements"])
    redis_client().set(rediskeys.BEAT_HEARTBEAT, "1")


@pytest.fixture
def count_commands(store):
    """count_commands(do) -> how often Redis ran each command while `do` was done"""

    def count(do):
        redis_client().config_resetstat()
        do()
        told = redis_client().info("commandstats")
        return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in told.items()}

    return count


def _checks(answer):
    return answer.json["data"]["checks"]


@pytest.mark.usefixtures("_heartbeats")
def test_all_is_up(client):
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert _checks(answer) == dict.fromkeys(["database", "migrations", "redis", "settleWorker", "beat"], "up")


@pytest.mark.parametrize(
    ("key", "part"),
    [(rediskeys.WORKERS, "settleWorker"), (rediskeys.BEAT_HEARTBEAT, "beat")],
)
@pytest.mark.usefixtures("_heartbeats")
def test_a_heart_that_stopped_is_named(client, key, part):
    redis_client().delete(key)

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json["code"]) == (503, "NOT_READY")
    assert {name for name, state in _checks(answer).items() if state != "up"} == {part}


@pytest.mark.usefixtures("_heartbeats")
def test_a_worker_that_fell_silent_is_missed_though_it_is_still_remembered(client):
    seconds, _ = redis_client().time()
    silent_since_ms = (seconds - rediskeys.WORKER_HEARTBEAT_SECONDS) * 1000 - 1
    redis_client().hset(rediskeys.WORKERS, "settle@here", f"{silent_since_ms}:settlements")

    assert _checks(client.get("/readyz"))["settleWorker"] == "silent"


@pytest.mark.usefixtures("_heartbeats")
def test_chores_settle_nothing_and_stand_in_for_nobody(client):
    redis_client().delete(rediskeys.WORKERS)
    beat("chores@here", ["chores"])

    assert _checks(client.get("/readyz"))["settleWorker"] == "silent"


@pytest.mark.usefixtures("_heartbeats")
def test_readiness_costs_the_same_however_many_keys_there_are(client, count_commands):
    redis_client().mset({f"{{sale:7}}:key:{number}:x": 1 for number in range(20_000)})

    asked = count_commands(lambda: client.get("/readyz"))

    assert asked["hgetall"] == 1
    assert "scan" not in asked


@pytest.mark.usefixtures("_heartbeats")
def test_a_line_that_waits_too_long_is_an_alarm_and_sends_nobody_away(client, make_sale):
    patient, late = make_sale(), make_sale()
    seconds, _ = redis_client().time()
    for sale, waited in ((patient, 3), (late, 42)):
        mail = {"u": 1, "k": "p", "q": 1, "n": "n", "t": (seconds - waited) * 1000}
        redis_client().xadd(rediskeys.mailbox(sale.id), mail, id="0-*")

    answer = client.get("/readyz")

    assert answer.status_code == 200
    alarm = answer.json["data"]["alarms"]["line"]
    assert re.fullmatch(rf"sale {late.id} has waited (4[2-9]|[5-9]\d) s, 1 wait too long", alarm)


def test_without_workers_buyers_are_admitted_and_told_an_honest_place_in_line(client, make_sale):
    sale = make_sale()

    places = [admit(sale.id, buyer, Kind.PURCHASE, 1).position for buyer in range(1, 6)]

    assert places == [0, 1, 2, 3, 4]
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert _checks(answer)["settleWorker"] == "silent"


@pytest.mark.usefixtures("_heartbeats")
def test_another_broker_that_is_away_is_named(client, change_settings):
    change_settings(BROKER_URL="amqp://guest@127.0.0.1:1//")

    assert {name for name, state in _checks(client.get("/readyz")).items() if state != "up"} == {"broker"}


@pytest.mark.usefixtures("_heartbeats")
def test_migrations_that_were_not_run_are_named(client, monkeypatch):
    monkeypatch.setattr("models.revisions.newest_revision", lambda: "9999")

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
