"""The limits that the gate counts: as flask-limiter counts those of the other routes, in the gate's own step."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from hypothesis import HealthCheck, given
from hypothesis import settings as tries
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from models import gate, rediskeys
from models.clock import now
from models.gate import Checks, Limit, TooOftenError, ask
from models.purchase import Kind
from models.redisclient import redis_client
from models.revocations import revoke, tell_generation

WINDOW = 10
START_MS = 1_800_000_000_000
LIMIT_LUA = Path(gate.__file__).with_name("limit.lua").read_text()
TAKE = f"{LIMIT_LUA}\nlocal left, which, wait = take(1, 1, 2, tonumber(ARGV[1]))\nreturn {{left or -1, wait or 0}}"
# The one from somewhere in the middle of the longest-lived token there is.
TOKEN = "a token"


def _take(amount, at_ms):
    left, wait_ms = redis_client().eval(TAKE, 1, "limit:test", at_ms, amount, WINDOW * 1000)
    return left >= 0, wait_ms


@tries(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amount=st.integers(1, 8), gaps=st.lists(st.integers(0, WINDOW * 999), max_size=60))
def test_the_gate_counts_as_the_library_does(store, amount, gaps):
    """The library's windows begin on the clock and ours with the first request: so the first comes on the clock."""
    redis_client().delete("limit:test")
    library, item = SlidingWindowCounterRateLimiter(MemoryStorage()), RateLimitItemPerSecond(amount, WINDOW)
    at_ms = START_MS
    for gap in [0, *gaps]:
        at_ms += gap
        with time_machine.travel(at_ms / 1000, tick=False):
            assert _take(amount, at_ms)[0] == library.hit(item), at_ms


@tries(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amount=st.integers(1, 8), gaps=st.lists(st.integers(0, 3_000), max_size=60))
def test_who_waits_as_long_as_they_are_told_is_let_in_and_not_a_moment_sooner(store, amount, gaps):
    redis_client().delete("limit:test")
    at_ms = START_MS
    for gap in gaps:
        at_ms += gap
        is_in, wait_ms = _take(amount, at_ms)
        if not is_in:
            assert 1 <= wait_ms <= 2 * WINDOW * 1000
            kept = redis_client().get("limit:test")
            assert not _take(amount, at_ms + wait_ms - 1)[0]
            assert redis_client().get("limit:test") == kept, "a refusal is not counted"
            at_ms += wait_ms
            assert _take(amount, at_ms)[0]


def test_a_clock_that_is_set_back_an_hour_locks_nobody_out_for_an_hour(store):
    """The windows begin anew: what is counted from then on is of the clock as it is."""
    redis_client().delete("limit:test")
    assert [_take(2, START_MS)[0] for _ in range(3)] == [True, True, False]

    back_ms = START_MS - 3_600_000

    assert [_take(2, back_ms)[0] for _ in range(2)] == [True, True]
    is_in, wait_ms = _take(2, back_ms)
    assert not is_in
    assert _take(2, back_ms + wait_ms)[0]


@tries(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amount=st.integers(1, 8), steps=st.lists(st.integers(-100_000, 3_000), max_size=60))
def test_nobody_waits_for_more_than_two_windows_whatever_the_clock_does(store, amount, steps):
    redis_client().delete("limit:test")
    at_ms = START_MS
    for step in steps:
        at_ms += step
        is_in, wait_ms = _take(amount, at_ms)
        assert is_in or 1 <= wait_ms <= 2 * WINDOW * 1000
        assert is_in or _take(amount, at_ms + wait_ms)[0]


def _ask(sale, user_id=1, *limits, key=None, generation=0):
    checks = Checks(TOKEN, generation, limits)
    return ask(sale.id, user_id, Kind.PURCHASE, 1, idempotency_key=key, checks=checks).admission()


def test_several_limits_are_kept_together_and_a_refusal_counts_for_none(make_sale):
    sale, tight, wide = make_sale(), Limit(2, 60), Limit(3, 3600)

    assert [_ask(sale, 1, wide, tight).left for _ in range(2)] == [1, 0]
    with pytest.raises(TooOftenError) as refused:
        _ask(sale, 1, wide, tight)

    assert refused.value.limit == tight
    assert _ask(sale, 1, wide).left == 0
    assert _ask(sale, 2, wide, tight).left == 1


def test_a_hundred_at_once_are_counted_one_by_one(make_sale):
    sale = make_sale()

    def one(_):
        try:
            return _ask(sale, 1, Limit(37, 60)).left
        except TooOftenError:
            return None

    with ThreadPoolExecutor(20) as pool:
        left = list(pool.map(one, range(100)))

    assert sorted(each for each in left if each is not None) == list(range(37))


def test_a_sale_that_the_gate_has_to_learn_of_first_counts_its_request_once(make_sale):
    sale = make_sale()
    redis_client().delete(rediskeys.view(sale.id))

    _ask(sale, 1, Limit(5, 60))

    assert _ask(sale, 1, Limit(5, 60)).left == 3


def test_what_is_counted_is_not_written_to_the_disk(make_sale):
    """A crowd that is refused would otherwise wait for the disk, and so would those who are not."""
    sale = make_sale()
    _ask(sale, 1, Limit(1, 3600))
    written = redis_client().info("persistence")["aof_current_size"]
    for _ in range(20):
        with pytest.raises(TooOftenError):
            _ask(sale, 1, Limit(1, 3600))

    assert redis_client().info("persistence")["aof_current_size"] == written
    _ask(sale, 2, Limit(1, 3600))
    assert redis_client().info("persistence")["aof_current_size"] > written, "or the figure shows nothing"


def test_the_gate_refuses_a_token_that_was_given_back_whatever_it_asks_for(client, make_sale, make_user, auth, waiting):
    sale, ann, ben = make_sale(), make_user(), make_user()
    path = f"/api/flash-sales/{sale.id}"
    header, other = auth(ann), auth(ben)
    assert client.post(f"{path}/purchases", json={}, headers=header).status_code == 202

    tell_generation(ann.id, 1)

    for kind in ("purchases", "reservations"):
        answer = client.post(f"{path}/{kind}", json={}, headers=header)
        assert (answer.status_code, answer.json["code"]) == (401, "TOKEN_REVOKED")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert client.post(f"{path}/purchases", json={}, headers=other).status_code == 202
    assert waiting(sale.id) == 2


def test_the_gate_refuses_one_token_that_was_given_back(make_sale):

    sale = make_sale()
    _ask(sale)
    revoke(1, TOKEN, now() + timedelta(hours=1))

    with pytest.raises(gate.GivenBackError):
        _ask(sale)


def test_a_retry_is_answered_as_its_first_try_was_though_too_much_is_behind_it_by_now(
    client, make_sale, make_user, auth, change_settings
):
    """And a control: without the key the same request is refused."""
    change_settings(VELOCITY_ACCOUNTS_REFUSE="3", VELOCITY_ACCOUNTS_FLAG="0")
    sale, ann = make_sale(), make_user()
    path, key = f"/api/flash-sales/{sale.id}/purchases", {"Idempotency-Key": "once"}
    first = client.post(path, json={}, headers=auth(ann) | key)
    seconds, _ = redis_client().time()
    seen = rediskeys.velocity_address("127.0.0.1")
    redis_client().zadd(seen, {"7001": seconds * 1000, "7002": seconds * 1000})
    redis_client().zrem(seen, ann.id)

    again = client.post(path, json={}, headers=auth(ann) | key)

    assert again.json["data"]["ticket"] == first.json["data"]["ticket"]
    assert client.post(path, json={}, headers=auth(ann)).json["code"] == "VELOCITY_REFUSED"


def test_the_answer_says_what_is_left(client, make_sale, make_user, auth, change_settings):
    change_settings(RATE_LIMIT_PURCHASE="2/minute")
    sale, header = make_sale(), auth(make_user())
    path = f"/api/flash-sales/{sale.id}/purchases"

    answers = [client.post(path, json={}, headers=header) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert [answer.headers["RateLimit"] for answer in answers[:2]] == ['"2-in-60";r=1', '"2-in-60";r=0']
    assert answers[0].headers["RateLimit-Policy"] == '"2-in-60";q=2;w=60'
    assert answers[2].json["code"] == "RATE_LIMITED"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60


def test_a_redis_without_memory_admits_nobody(client, make_sale, make_user, auth, waiting):
    """Though what is counted of whoever asks is written before, and a script that has begun to write may go on."""
    sale, header = make_sale(), auth(make_user())
    path = f"/api/flash-sales/{sale.id}/purchases"
    assert client.post(path, json={}, headers=header).status_code == 202
    redis_client().config_set("maxmemory", 1)
    try:
        answers = [client.post(path, json={}, headers=auth(make_user())) for _ in range(3)]
        answers.append(client.post(path, json={}, headers=header))
    finally:
        redis_client().config_set("maxmemory", 0)

    assert {(answer.status_code, answer.json["code"]) for answer in answers} == {(503, "UNAVAILABLE")}
    assert waiting(sale.id) == 1
    assert client.post(path, json={}, headers=header).status_code == 202
