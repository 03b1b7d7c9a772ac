"""Requests for units, before Flask and by Flask, side by side: the same stores, the same answers."""

import json
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from models import rediskeys
from models.gate import Limit
from models.ip_ranges import Action
from models.redisclient import redis_client
from models.revocations import revoke
from models.sales import pause_sale
from models.settings import settings
from models.tokens import issue_access_token, issue_refresh_token, read_quickly
from tests.doorstep.sides import Ways, assert_alike, bearer, numbers, units
from web import doorstep, stopping
from web.app import create_app

PLAIN = [
    {},
    {"HTTP_PREFER": "respond-async"},
    {"HTTP_PREFER": "wait=x, return=minimal"},
    {"HTTP_PREFER": "respond-async, wait=0.05"},
    {"body": b' {"quantity" : 3 } '},
    {"CONTENT_TYPE": "application/json; charset=utf-8"},
    {"HTTP_IDEMPOTENCY_KEY": "key-1"},
    {"HTTP_ORIGIN": "https://elsewhere.test"},
    {"HTTP_COOKIE": "access=nonsense; csrf=nonsense"},
    {"HTTP_ACCEPT": "text/html"},
    {"HTTP_X_FORWARDED_FOR": "203.0.113.7", "HTTP_X_FORWARDED_PROTO": "https"},
    {"REMOTE_ADDR": "::ffff:10.0.0.1"},
    {"REMOTE_ADDR": "2001:db8::7%eth0"},
    {"REMOTE_ADDR": ""},
    {"wsgi.url_scheme": "https"},
]


@pytest.mark.parametrize("environ", PLAIN, ids=str)
def test_a_plain_request_is_answered_at_the_doorstep_as_flask_would(ways, make_sale, environ):
    answer = assert_alike(ways, make_sale(), **environ)

    assert answer.status == "202 ACCEPTED"
    assert json.loads(answer.body)["data"]["ticket"] == 1


def test_a_reservation_is_one(ways, make_sale):
    sale = make_sale()
    answer = assert_alike(ways, sale, PATH_INFO=f"/api/flash-sales/{sale.id}/reservations")

    assert json.loads(answer.body)["data"]["kind"] == "reservation"


NOT_PLAIN = [
    {"REQUEST_METHOD": "GET"},
    {"REQUEST_METHOD": "OPTIONS"},
    {"QUERY_STRING": "wait=0"},
    {"QUERY_STRING": "a=%00"},
    {"PATH_INFO": "/api/flash-sales/1/purchases/"},
    {"PATH_INFO": "/api/flash-sales/01/purchases"},
    {"PATH_INFO": "/api/flash-sales/x/purchases"},
    {"PATH_INFO": "/api/flash-sales/1/purchases\n"},
    {"CONTENT_TYPE": "text/plain"},
    {"CONTENT_TYPE": "application/json; charset=latin-1"},
    {"CONTENT_TYPE": None},
    {"CONTENT_LENGTH": None},
    {"CONTENT_LENGTH": ""},
    {"CONTENT_LENGTH": "0"},
    {"CONTENT_LENGTH": "-1"},
    {"CONTENT_LENGTH": "²"},
    {"CONTENT_LENGTH": "5"},
    {"CONTENT_LENGTH": "014"},
    {"body": b"{}"},
    {"body": b"[]"},
    {"body": b"1"},
    {"body": b"\xff"},
    {"body": b'{"quantity":"1"}'},
    {"body": b'{"quantity":1.0}'},
    {"body": b'{"quantity":true}'},
    {"body": b'{"quantity":null}'},
    {"body": b'{"quantity":0}'},
    {"body": b'{"quantity":-1}'},
    {"body": b'{"quantity":1000001}'},
    {"body": b'{"quantity":1,"groupKey":"card"}'},
    {"body": b'{"quantity":1,"price":0}'},
    {"body": b'{"quantity":1,"\\u0000":1}'},
    {"body": b'{"quantity":1}' + b" " * 100},
    {"HTTP_IDEMPOTENCY_KEY": '"quoted"'},
    {"HTTP_IDEMPOTENCY_KEY": ""},
    {"HTTP_IDEMPOTENCY_KEY": "two words"},
    {"HTTP_IDEMPOTENCY_KEY": "k" * 129},
    {"HTTP_AUTHORIZATION": None},
    {"HTTP_AUTHORIZATION": "Bearer"},
    {"HTTP_AUTHORIZATION": "Bearer  "},
    {"HTTP_AUTHORIZATION": "Bearer a.b.c"},
    {"HTTP_AUTHORIZATION": "Bearer " + "é" * 40},
    {"HTTP_AUTHORIZATION": "Basic YTpi"},
]


@pytest.mark.parametrize("environ", NOT_PLAIN, ids=str)
def test_whatever_is_not_plain_is_flasks(ways, make_sale, environ):
    assert_alike(ways, make_sale(), by_doorstep=False, **environ)


def test_a_bearer_in_other_letters_is_flasks_and_no_less_good(ways, make_sale):
    answer = assert_alike(
        ways, make_sale(), by_doorstep=False, HTTP_AUTHORIZATION=bearer(next(numbers)).replace("Bearer", "bearer")
    )

    assert answer.status.startswith("202")


@pytest.mark.parametrize("header", ["HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT", "HTTP_TRANSFER_ENCODING"])
def test_a_wish_is_flasks(ways, make_sale, header):
    _, by_doorstep = ways.through(**units(make_sale()), **{header: "wait=0"})

    assert not by_doorstep


def test_tokens_that_are_no_good_are_flasks_to_refuse(ways, make_sale):
    sale = make_sale()
    user = next(numbers)
    forged = bearer(user)[:-4] + "AAAA"
    expired = f"Bearer {issue_access_token(user, 'customer', timedelta(seconds=-60))}"
    refresh = f"Bearer {issue_refresh_token(user, 'customer')}"
    for token in (forged, expired, refresh):
        answer = assert_alike(ways, sale, by_doorstep=False, HTTP_AUTHORIZATION=token)
        assert answer.status.startswith("401")


def test_a_token_that_was_given_back_is_refused_at_once(ways, make_sale):
    user = next(numbers)
    token = bearer(user)
    claims = read_quickly(token.removeprefix("Bearer "), "access")
    sale = make_sale()

    answer = assert_alike(
        ways,
        sale,
        by_doorstep=False,
        spoil=lambda: revoke(user, claims.jti, claims.expires_at),
        HTTP_AUTHORIZATION=token,
    )

    assert (answer.status[:3], json.loads(answer.body)["code"]) == ("401", "TOKEN_REVOKED")


def test_refusals_of_the_day_are_given_at_the_doorstep_and_the_others_by_flask(ways, make_sale):
    one = make_sale(total_stock=1, max_per_user=1)
    for sale, code, by_doorstep, body in (
        (make_sale(opens_in=timedelta(hours=1)), "NOT_STARTED", True, b'{"quantity":1}'),
        (make_sale(opens_in=timedelta(hours=-2), lasts=timedelta(hours=1)), "ENDED", True, b'{"quantity":1}'),
        (make_sale(total_stock=2), "INSUFFICIENT_STOCK", True, b'{"quantity":3}'),
        (one, "LIMIT_EXCEEDED", False, b'{"quantity":2}'),
    ):
        answer = assert_alike(ways, sale, by_doorstep=by_doorstep, body=body)
        assert json.loads(answer.body)["code"] == code

    paused = make_sale()
    pause_sale(paused.id)
    assert json.loads(assert_alike(ways, paused).body)["code"] == "PAUSED"
    sold = make_sale()
    answer = assert_alike(ways, sold, spoil=lambda: redis_client().hset(rediskeys.view(sold.id), "remaining", 0))
    assert json.loads(answer.body)["code"] == "SOLD_OUT"


def test_an_unknown_sale_is_flasks_to_refuse(ways, make_sale):
    sale = make_sale()

    answer = assert_alike(ways, sale, by_doorstep=False, PATH_INFO="/api/flash-sales/999/purchases")

    assert answer.status.startswith("404")


def test_the_gate_is_asked_once_whichever_way_the_answer_takes(ways, make_sale, monkeypatch):
    asked = []
    knock = doorstep.knock
    monkeypatch.setattr(doorstep, "knock", lambda *of, **named: asked.append(of) or knock(*of, **named))
    monkeypatch.setattr("web.guard.knock", lambda *_, **__: pytest.fail("asked again"))
    sale = make_sale(max_per_user=1)

    refused, by_doorstep = ways.through(**units(sale, body=b'{"quantity":2}'))

    assert (refused.status[:3], by_doorstep, len(asked)) == ("422", False, 1)


def test_too_many_requests_are_refused_by_flask_with_the_gates_numbers(ways, make_sale, monkeypatch):
    monkeypatch.setattr("web.guard.purchase_limits", lambda: (Limit(2, 60),))
    sale = make_sale()
    environ = units(sale)

    answers = [ways.through(**environ) for _ in range(3)]

    assert [(answer.status[:3], by_doorstep) for answer, by_doorstep in answers] == [
        ("202", True),
        ("202", True),
        ("429", False),
    ]
    assert int(answers[2][0].headers["Retry-After"]) >= 1


def test_a_retry_has_the_answer_of_its_first_try_either_way(ways, make_sale):
    sale = make_sale()
    environ = units(sale, HTTP_IDEMPOTENCY_KEY="once")

    first, _ = ways.through(**environ)
    second, by_doorstep = ways.through(**environ)
    third = ways.around(**environ)

    assert by_doorstep
    assert {json.loads(answer.body)["data"]["ticket"] for answer in (first, second, third)} == {1}
    assert redis_client().xlen(rediskeys.mailbox(sale.id)) == 1


def test_an_error_while_an_outcome_is_waited_for_is_flasks_to_say(ways, make_sale, monkeypatch):
    def fail(*_, **__):
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(doorstep, "wait_for_outcome", fail)
    monkeypatch.setattr("web.guard.knock", lambda *_, **__: pytest.fail("asked again"))

    answer, by_doorstep = ways.through(**units(make_sale(), HTTP_PREFER="wait=1"))

    assert (answer.status[:3], by_doorstep, answer.headers["Retry-After"]) == ("503", False, "1")


def test_redis_away_is_flasks_to_say_and_nothing_is_asked_twice(ways, make_sale, store, monkeypatch):
    sale = make_sale()
    monkeypatch.setattr("web.guard.knock", lambda *_, **__: pytest.fail("asked again"))
    store.valkey.kill()
    try:
        answer, by_doorstep = ways.through(**units(sale))
    finally:
        store.valkey.start()

    assert (answer.status[:3], by_doorstep, answer.headers["Retry-After"]) == ("503", False, "1")


def test_a_denied_address_never_reaches_the_gate(ways, make_sale, monkeypatch):
    monkeypatch.setattr(doorstep, "action_for", lambda _: Action.DENY)
    monkeypatch.setattr("web.guard.action_for", lambda _: Action.DENY)

    answer, by_doorstep = ways.through(**units(make_sale()))

    assert (answer.status[:3], by_doorstep) == ("403", False)


def test_a_process_that_stops_lets_flask_say_so(ways, make_sale, monkeypatch):
    monkeypatch.setattr(stopping, "_asked", True)

    answer, by_doorstep = ways.through(**units(make_sale()))

    assert (answer.status[:3], by_doorstep, answer.headers["Connection"]) == ("503", False, "close")


def test_whoever_was_in_hand_when_a_process_is_asked_to_stop_hears_that_the_connection_ends(
    ways, make_sale, monkeypatch
):
    knock = doorstep.knock

    def knock_and_stop(*of, **named):
        monkeypatch.setattr(stopping, "_asked", True)
        return knock(*of, **named)

    monkeypatch.setattr(doorstep, "knock", knock_and_stop)

    answer, by_doorstep = ways.through(**units(make_sale()))

    assert (answer.status[:3], by_doorstep, answer.headers["Connection"]) == ("202", True, "close")


def test_origins_that_the_settings_name_are_let_read_either_way(store, make_sale, monkeypatch):
    monkeypatch.setenv("CORS_ORIGINS", "https://shop.test")
    settings.cache_clear()
    try:
        ways, sale = Ways(create_app()), make_sale()
        for origin in ("https://shop.test", "https://elsewhere.test"):
            assert_alike(ways, sale, HTTP_ORIGIN=origin)
        assert_alike(ways, sale)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
