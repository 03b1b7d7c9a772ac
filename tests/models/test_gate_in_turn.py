"""The gate asked of one shard after the other, as on a cluster, says what it says when all is asked at once."""

import random
from datetime import timedelta

import pytest

from models import gate, rediskeys
from models.announce import rebuild_view
from models.clock import now
from models.fraud import Signal
from models.gate import Checks, Limit, ask
from models.gateparts import ask_at_once, ask_in_turn
from models.purchase import Kind
from models.redisclient import redis_client
from models.revocations import revoke, tell_generation
from models.velocity import Question

STEPS = 200
BUYERS = (1, 2, 3)
TOKEN = "a token"


def _checks(dice, user_id, sale_id):
    limits = dice.choice([(), (Limit(6, 3600),), (Limit(6, 3600), Limit(9, 7200))])
    crowd = Question(Signal.MANY_ACCOUNTS, "here", rediskeys.velocity_address("here"), user_id, 3600, 2, 3)
    many = Question(Signal.MANY_SALES, str(user_id), rediskeys.velocity_user(user_id), sale_id, 3600, 1, 0)
    questions = dice.choice([(), (crowd,), (many, crowd)])
    return Checks(TOKEN, dice.choice([0, 1]), limits, questions)


def _disturb(dice, sale_id):
    """What others do to the sale's keys and to a buyer's tokens."""
    user_id, view = dice.choice(BUYERS), rediskeys.view(sale_id)
    fields = [
        ("paused", "1"),
        ("paused", "0"),
        ("remaining", "0"),
        ("remaining", "2"),
        ("state", "cancelled"),
        ("state", "live"),
        ("max_per_user", "2"),
        ("starts_ms", "9999999999999"),
        ("remaining", "none"),
    ]
    what = dice.randrange(8)
    if what == 0:
        redis_client().delete(view)
    elif what == 1:
        rebuild_view(sale_id)
    elif what == 2:
        tell_generation(user_id, 1)
    elif what == 3:
        revoke(user_id, TOKEN, now() + timedelta(hours=1))
    elif what == 4:
        redis_client().delete(rediskeys.revoked(user_id, TOKEN), rediskeys.generation(user_id))
        redis_client().delete(rediskeys.limit(user_id, 3600), rediskeys.velocity_address("here"))
    elif what == 5:
        redis_client().delete(rediskeys.limit(user_id, 3600))
        redis_client().lpush(rediskeys.limit(user_id, 3600), "something else")
    else:
        redis_client().hset(view, *dice.choice(fields))


def _hear(seed, sale_id):
    """What a course of requests hears: code, findings and numbers of each, without what depends on the clock."""
    dice, heard = random.Random(seed), []
    redis_client().flushall()
    for _ in range(STEPS):
        if dice.random() < 0.3:
            _disturb(dice, sale_id)
        user_id, key = dice.choice(BUYERS), dice.choice([None, "once", "twice"])
        checks = dice.choice([None, *[_checks(dice, user_id, sale_id)] * 9])
        quantity = dice.choice([1, 1, 1, 2, 3])
        answer = ask(sale_id, user_id, Kind.PURCHASE, quantity, idempotency_key=key, checks=checks)
        values = answer.values[:1] if answer.code == "RATE_LIMITED" else answer.values
        if answer.code == "ADMITTED":
            # Whether to send a wake-up depends on how long ago the last one was.
            values = [*values[:3], *values[4:]]
        heard.append(
            (answer.code, values, [(each.signal, each.verdict, each.count, each.is_new) for each in answer.findings])
        )
    return heard


@pytest.mark.parametrize("seed", range(2))
def test_it_says_the_same_in_turn(make_sale, monkeypatch, seed):
    sale = make_sale(total_stock=1_000)
    at_once = _hear(seed, sale.id)

    monkeypatch.setattr(gate, "ask_at_once", ask_in_turn)
    in_turn = _hear(seed, sale.id)

    assert in_turn == at_once
    codes = {code for code, _, _ in at_once}
    expected = {"ADMITTED", "SEEN", "IDEMPOTENCY_KEY_REUSED", "REVOKED", "RATE_LIMITED", "VELOCITY_REFUSED"}
    assert expected <= codes, "or the course shows little"


def test_control_a_retry_that_is_judged_before_it_is_known_hears_something_else(make_sale, monkeypatch):
    """What the course would miss if the Idempotency-Key were asked for only at the end."""

    async def ask_without_looking(trips, request, checks):
        left = await ask_in_turn(trips, request, checks and Checks(checks.jti, checks.generation, checks.limits))
        judged = await ask_at_once(
            trips, request, checks and Checks(checks.jti, checks.generation, (), checks.questions)
        )
        return judged if judged[0] == "VELOCITY_REFUSED" else left

    sale = make_sale(total_stock=1_000)
    at_once = _hear(0, sale.id)
    monkeypatch.setattr(gate, "ask_at_once", ask_without_looking)

    assert _hear(0, sale.id) != at_once
