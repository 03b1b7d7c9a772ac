"""Looks where something is away, broken or denied: nobody is kept from an outcome, and nothing is asked twice."""

from datetime import timedelta

import pytest

from models import rediskeys
from models.clock import now
from models.ip_ranges import Action
from models.redisclient import redis_client
from models.revocations import revoke
from models.settings import settings
from models.settle import settle_turn
from models.tokens import read_quickly
from tests.doorstep.looking import assert_told_alike, buy, look_of, told
from tests.doorstep.sides import Ways
from web import doorstep
from web.app import create_app


def test_it_is_asked_once_whichever_way_the_answer_takes(ways, make_sale, me, monkeypatch):
    monkeypatch.setattr("web.purchases.look_at", lambda *_: pytest.fail("asked again"))
    sale = make_sale()

    answer, by_doorstep = ways.through(**look_of(me, sale, 1))

    assert (told(answer), by_doorstep) == ((404, "PURCHASE_NOT_FOUND"), False)
    assert redis_client().get(rediskeys.looks_of_user(me, 60)).endswith(":1")


def test_redis_away_keeps_nobody_from_an_outcome_and_the_rest_is_flasks_to_say(ways, make_sale, store, me):
    """docs/decisions/0004-revocation-when-redis-is-away.md"""
    sale = make_sale()
    settled = buy(sale, me)
    settle_turn(sale.id)
    waiting = buy(sale, me)
    store.valkey.kill()
    try:
        told_outcome = assert_told_alike(ways, **look_of(me, sale, settled))
        unknown = assert_told_alike(ways, by_doorstep=False, **look_of(me, sale, waiting))
    finally:
        store.valkey.start()

    assert told(told_outcome) == (200, "confirmed")
    assert (told(unknown), unknown.headers["Retry-After"]) == ((503, "UNAVAILABLE"), "1")


def test_one_connection_that_broke_is_nothing_that_a_buyer_hears_of(ways, make_sale, me):
    """And the token is asked about all the same."""
    sale = make_sale()
    environ = look_of(me, sale, buy(sale, me))
    token = environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    assert told(ways.through(**environ)[0]) == (200, "queued")

    redis_client().client_kill_filter(_type="normal", skipme=False)
    # The first finds the connection closed, the second makes another.
    assert [told(ways.through(**environ)[0]) for _ in range(2)] == [(200, "queued")] * 2
    revoke(me, read_quickly(token, "access").jti, now() + timedelta(hours=1))
    redis_client().client_kill_filter(_type="normal", skipme=False)
    assert told(ways.through(**environ)[0]) == (401, "TOKEN_REVOKED")


def test_something_else_in_the_place_of_a_key_hides_no_outcome(ways, make_sale, me):
    sale = make_sale()
    settled = buy(sale, me)
    settle_turn(sale.id)
    for key in (rediskeys.mailbox(sale.id), rediskeys.looks_of_user(me, 60)):
        redis_client().delete(key)
        redis_client().lpush(key, "something else")

    assert told(assert_told_alike(ways, **look_of(me, sale, settled))) == (200, "confirmed")
    unknown = assert_told_alike(ways, by_doorstep=False, **look_of(me, sale, settled + 1))
    assert told(unknown) == (503, "UNAVAILABLE")


def test_a_redis_without_memory_and_one_that_misses_its_replicas_let_everybody_look(ways, make_sale, me):
    sale = make_sale()
    ticket = buy(sale, me)
    for name, value in (("maxmemory", 1), ("min-replicas-to-write", 1)):
        redis_client().config_set(name, value)
        try:
            answer = assert_told_alike(ways, **look_of(me, sale, ticket))
        finally:
            redis_client().config_set(name, 0)
        assert told(answer) == (200, "queued")


def test_a_denied_address_is_shown_nothing(ways, make_sale, me, monkeypatch):
    sale = make_sale()
    monkeypatch.setattr(doorstep, "action_for", lambda _: Action.DENY)
    monkeypatch.setattr("web.guard.action_for", lambda _: Action.DENY)

    answer = assert_told_alike(ways, by_doorstep=False, **look_of(me, sale, buy(sale, me)))

    assert answer.status.startswith("403")


def test_origins_that_the_settings_name_are_let_read_either_way(store, make_sale, me, monkeypatch):
    monkeypatch.setenv("CORS_ORIGINS", "https://shop.test")
    monkeypatch.setenv("RATE_LIMIT_EXEMPT", "192.0.2.0/24")
    settings.cache_clear()
    try:
        ways, sale = Ways(create_app()), make_sale()
        environ = look_of(me, sale, buy(sale, me))
        for origin in ("https://shop.test", "https://elsewhere.test"):
            assert_told_alike(ways, **environ, HTTP_ORIGIN=origin)
        assert "RateLimit-Policy" in assert_told_alike(ways, **environ).headers
        assert "RateLimit-Policy" not in assert_told_alike(ways, **environ | {"REMOTE_ADDR": "192.0.2.7"}).headers
    finally:
        monkeypatch.undo()
        settings.cache_clear()
