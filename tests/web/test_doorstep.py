"""The doorstep before Flask and Flask itself, side by side: the same requests, the same stores, the same answers."""

import io
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from models import rediskeys
from models.announce import rebuild_view
from models.gate import Limit, admit
from models.ip_ranges import Action
from models.purchase import Kind
from models.redisclient import redis_client
from models.revocations import revoke
from models.sales import patch_sale, pause_sale
from models.settings import settings
from models.settle import settle_turn
from models.tokens import issue_access_token, issue_refresh_token, read_quickly
from web import doorstep, stopping
from web.app import create_app
from web.doorstep import Doorstep
from web.fresh import RENEW_SECONDS, answers
from web.standing import standing_copy

# What differs between two answers to the same request, and may.
OWN = re.compile(r'"(serverTime|estimateSeconds)":("[^"]*"|[\d.]+)')
IDS = re.compile(r"\d+-\d+|\"(ticket|position|userId)\":\"?\d+")
numbers = count(1)


@dataclass(frozen=True)
class Answer:
    status: str
    headers: dict[str, str]
    body: bytes

    def alike(self):
        """What must be the same both ways; a header's place among the others is nobody's business."""
        headers = dict(self.headers)
        request_id = headers.pop("X-Request-Id")
        assert len(request_id) >= 8
        headers.pop("Content-Length", None)
        return self.status.split()[0], headers, OWN.sub("", self.body.decode())


def ask(application, **environ):
    told = []
    body = environ.pop("body", b'{"quantity":1}')
    base = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "shop.test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "shop.test",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    given_up = {name for name, value in environ.items() if value is None}
    whole = {name: value for name, value in (base | environ).items() if name not in given_up}
    chunks = application(whole, lambda status, headers, _=None: told.append((status, headers)))
    sent = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    [(status, headers)] = told
    names = [name for name, _ in headers]
    assert len(names) == len(set(names)), f"said twice: {names}"
    return Answer(status, dict(headers), sent)


@pytest.fixture(scope="module")
def application(servers):
    return Ways(create_app())


@pytest.fixture
def ways(application, store):
    """The application with its doorstep, and what is behind it; counts what Flask is asked."""
    assert standing_copy().renew()
    return application


class Ways:
    def __init__(self, app):
        self.asked_flask = 0
        # Behind what believes a proxy of ours, the doorstep comes first.
        self.whole = app.wsgi_app
        [self.doorstep] = [
            cell.cell_contents for cell in app.wsgi_app.__closure__ if isinstance(cell.cell_contents, Doorstep)
        ]
        self.flask = self.doorstep.flask
        self.doorstep.flask = self._count

    def _count(self, environ, start_response):
        self.asked_flask += 1
        return self.flask(environ, start_response)

    def through(self, **environ):
        """The answer of the whole, and whether the doorstep gave it."""
        before = self.asked_flask
        return ask(self.whole, **environ), self.asked_flask == before

    def around(self, **environ):
        return ask(self.flask, **environ)


def bearer(user_id, **claims):
    return f"Bearer {issue_access_token(user_id, 'customer', **claims)}"


def units(sale, **environ):
    """A plain request of a buyer who never came before."""
    return {
        "PATH_INFO": f"/api/flash-sales/{sale.id}/purchases",
        "HTTP_AUTHORIZATION": bearer(next(numbers)),
    } | environ


def forget(sale):
    """The stores as they were before anybody came."""
    redis_client().flushall()
    rebuild_view(sale.id)


def assert_alike(ways, sale, *, by_doorstep=True, spoil=lambda: None, **environ):
    """Ask both ways, each on a sale to which nobody came yet."""
    environ = units(sale) | environ
    forget(sale)
    spoil()
    short, was_short = ways.through(**environ)
    forget(sale)
    spoil()
    long = ways.around(**environ)
    assert short.alike() == long.alike()
    assert was_short is by_doorstep
    return short


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


@contextmanager
def settling(sale_id):
    """Somebody settles the sale for as long as the block runs."""
    over = threading.Event()

    def settle():
        while not over.is_set():
            settle_turn(sale_id)
            over.wait(0.02)

    worker = threading.Thread(target=settle)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def test_whoever_waits_is_told_the_outcome_either_way(ways, make_sale):
    me = next(numbers)
    for sale, ahead, status in (
        (make_sale(total_stock=2), None, "201"),
        (make_sale(total_stock=1), me + 1_000_000, "409"),
        (make_sale(max_per_user=1), me, "422"),
    ):
        if ahead:
            admit(sale.id, ahead, Kind.PURCHASE, 1)
        answers().keep("/live", b"{}", time.monotonic(), answers().changes)
        environ = units(sale, HTTP_AUTHORIZATION=bearer(me), HTTP_IDEMPOTENCY_KEY="key", HTTP_PREFER="wait=30")

        with settling(sale.id):
            short, by_doorstep = ways.through(**environ)
            is_kept = answers().find("/live") is not None
            long = ways.around(**environ)

        assert (short.status[:3], by_doorstep) == (status, True)
        assert (headers_of_limits(short), short.headers["Preference-Applied"]) == (
            {"RateLimit", "RateLimit-Policy"},
            "wait=30",
        )
        assert without_limits(short) == without_limits(long)
        # Whoever bought is not shown what was before.
        assert is_kept is (status != "201")


def headers_of_limits(answer):
    return {name for name in answer.headers if name.startswith("RateLimit")}


def without_limits(answer):
    """What is left of a limit differs between the first request and the second."""
    status, headers, body = answer.alike()
    return status, {name: value for name, value in headers.items() if name != "RateLimit"}, body


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


PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b'"quantity"',
        b'"groupKey"',
        b"1",
        b"2",
        b"0",
        b"-",
        b".5",
        b"e1",
        b'"',
        b" ",
        b"true",
        b"null",
        b"\\u0000",
        b"\xff",
        b"\xc3\xa9",
    ]
)
BODIES = st.one_of(
    st.lists(PIECES, max_size=8).map(b"".join),
    st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(["quantity", "groupKey", "x"]), st.one_of(st.integers(-2, 3), st.text(max_size=4), st.none())
    ).map(orjson.dumps),
    st.one_of(st.integers(-2, 5), st.just(1_000_001)).map(lambda quantity: b'{"quantity":%d}' % quantity),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "CONTENT_TYPE": st.sampled_from(
            ["application/json", "application/JSON", "application/json;charset=utf-8", "x"]
        ),
        "CONTENT_LENGTH": st.sampled_from(["0", "7", "14", "1_4", "+14", " 14", "14.0"]),
        "HTTP_IDEMPOTENCY_KEY": st.text(st.characters(max_codepoint=255), max_size=8),
        "HTTP_X_FORWARDED_FOR": st.text(st.sampled_from("0123456789.,: a"), max_size=20),
        "REMOTE_ADDR": st.sampled_from(["127.0.0.1", "10.0.0.1", "::1", "x", "203.0.113.9"]),
        "HTTP_PREFER": st.sampled_from(["", "wait", "wait=0", "wait=0.01", "wait=x", "a,wait=0.01;b", "é"]),
        "QUERY_STRING": st.sampled_from(["", "a", "wait=x", "%00"]),
        "HTTP_AUTHORIZATION": st.text(st.characters(max_codepoint=255), max_size=30).map(lambda text: f"Bearer {text}"),
    },
)


def test_whatever_is_sent_the_two_ways_say_the_same(ways, make_sale):
    sale = make_sale(total_stock=1_000_000, max_per_purchase=2)
    seen = set()

    @hypothesis_settings(
        max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(BODIES, st.one_of(st.just({}), HEADERS))
    def both_say_the_same(body, headers):
        # Two buyers, since no sale begins anew for every case: their tickets differ, and nothing else may.
        short, by_doorstep = ways.through(**units(sale, body=body) | headers)
        long = ways.around(**units(sale, body=body) | headers)
        assert [IDS.sub("", str(part)) for part in short.alike()] == [IDS.sub("", str(part)) for part in long.alike()]
        seen.add(by_doorstep)

    both_say_the_same()

    assert seen == {True, False}


def look(path, **environ):
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "CONTENT_TYPE": None,
        "CONTENT_LENGTH": None,
        "body": b"",
    } | environ


@pytest.mark.parametrize("path", ["/api/flash-sales/live", "/api/flash-sales/{id}"])
def test_a_look_at_a_sale_is_handed_out_at_the_doorstep_as_flask_would(ways, make_sale, path):
    answers().forget()
    path = path.format(id=make_sale().id)

    read, was_read_here = ways.through(**look(path))
    kept, was_kept_here = ways.through(**look(path))
    long = ways.around(**look(path))

    assert (was_read_here, was_kept_here) == (False, True)
    assert kept.alike() == long.alike()
    assert kept.alike()[2] == read.alike()[2]
    assert ways.through(**look(path, QUERY_STRING="page=1"))[1] is False
    assert ways.through(**look(path, REQUEST_METHOD="HEAD"))[1] is False
    assert ways.through(**look(path, HTTP_X_REQUEST_ID="a-name-of-its-own"))[1] is False


def test_whoever_is_to_read_a_sale_anew_does_so_behind_the_doorstep_too(ways, make_sale, monkeypatch):
    answers().forget()
    clock = SimpleNamespace(monotonic=lambda: moment[0])
    moment = [1_000.0]
    monkeypatch.setattr("web.fresh.time", clock)
    sale = make_sale()
    path = f"/api/flash-sales/{sale.id}"
    first, _ = ways.through(**look(path))
    patch_sale(sale.id, {"title": "Another name"}, actor_id=None)

    moment[0] += RENEW_SECONDS
    anew, by_doorstep = ways.through(**look(path))
    after, _ = ways.through(**look(path))

    titles = [json.loads(each.body)["data"]["title"] for each in (first, anew, after)]
    assert (by_doorstep, titles[0] != titles[1], titles[1:]) == (False, True, ["Another name"] * 2)


def test_a_denied_address_is_shown_nothing(ways, make_sale, monkeypatch):
    answers().forget()
    path = f"/api/flash-sales/{make_sale().id}"
    ways.through(**look(path))
    monkeypatch.setattr(doorstep, "action_for", lambda _: Action.DENY)
    monkeypatch.setattr("web.guard.action_for", lambda _: Action.DENY)

    answer, by_doorstep = ways.through(**look(path))

    assert (answer.status[:3], by_doorstep) == ("403", False)
