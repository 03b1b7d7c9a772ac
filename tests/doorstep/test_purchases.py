"""Looks at purchases, before Flask and by Flask, side by side: the same stores, the same answers."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import text

from models import holds, rediskeys
from models.clock import now, to_ms
from models.database import transaction
from models.purchase import Kind
from models.redisclient import redis_client
from models.sales import end_sale
from models.settle import settle_turn
from models.tokens import issue_access_token, issue_refresh_token
from tests.doorstep.looking import (
    FORMS,
    assert_told_alike,
    buy,
    look_of,
    told,
)
from tests.doorstep.sides import bearer, numbers
from web.waiting import waiters


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("query", ["", "wait=0", "wait=0.05"])
def test_a_request_in_line_is_shown_with_its_position(ways, make_sale, me, form, query):
    sale = make_sale()
    for user_id in (me + 1_000_000, me + 2_000_000):
        buy(sale, user_id)

    answer = assert_told_alike(ways, **look_of(me, sale, buy(sale, me), form, QUERY_STRING=query))

    data = json.loads(answer.body)["data"]
    assert (answer.status, data["status"], data["position"], data["userId"]) == ("200 OK", "queued", 2, str(me))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("query", ["", "wait=10"])
def test_an_outcome_is_shown_whatever_it_is(ways, make_sale, me, form, query):
    sale = make_sale(total_stock=3)
    tickets = {
        "confirmed": buy(sale, me),
        "reserved": buy(sale, me, Kind.RESERVATION),
        "cancelled": buy(sale, me, Kind.RESERVATION),
        "rejected": buy(sale, me, quantity=2),
    }
    settle_turn(sale.id)
    holds.cancel(sale.id, [tickets["cancelled"]], me)

    for status, ticket in tickets.items():
        answer = assert_told_alike(ways, **look_of(me, sale, ticket, form, QUERY_STRING=query))
        assert told(answer) == (200, status)


PLAIN = [
    {"HTTP_ORIGIN": "https://elsewhere.test"},
    {"HTTP_COOKIE": "access=nonsense; csrf=nonsense"},
    {"HTTP_ACCEPT": "text/html"},
    {"HTTP_PREFER": "wait=0.05"},
    {"HTTP_PREFER": "wait=x", "QUERY_STRING": "wait=0"},
    {"HTTP_IF_NONE_MATCH": "*"},
    {"HTTP_X_FORWARDED_FOR": "203.0.113.7", "HTTP_X_FORWARDED_PROTO": "https"},
    {"REMOTE_ADDR": "2001:db8::7%eth0"},
    {"REMOTE_ADDR": ""},
    {"CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "2", "body": b"{}"},
    {"wsgi.url_scheme": "https"},
]


@pytest.mark.parametrize("environ", PLAIN, ids=str)
def test_a_plain_look_is_answered_at_the_doorstep(ways, make_sale, me, environ):
    sale = make_sale()

    assert told(assert_told_alike(ways, **look_of(me, sale, buy(sale, me), **environ))) == (200, "queued")


NOT_PLAIN = [
    ({"REQUEST_METHOD": "HEAD"}, 200),
    ({"REQUEST_METHOD": "OPTIONS"}, 200),
    ({"REQUEST_METHOD": "POST"}, 405),
    ({"QUERY_STRING": "wait="}, 400),
    ({"QUERY_STRING": "wait=x"}, 400),
    ({"QUERY_STRING": "wait=-1"}, 400),
    ({"QUERY_STRING": "wait=1e1"}, 400),
    ({"QUERY_STRING": "wait=%C2%B2"}, 400),
    ({"QUERY_STRING": "wait=%30"}, 200),
    ({"QUERY_STRING": "wait=0&wait=0"}, 200),
    ({"QUERY_STRING": "wait=0&page=1"}, None),
    ({"QUERY_STRING": "a=%00"}, 400),
    ({"PATH_INFO": "/api/purchases/{sale}-{ticket}/"}, 200),
    ({"PATH_INFO": "/api/purchases/0{sale}-{ticket}"}, 200),
    ({"PATH_INFO": "/api/purchases/{sale}-0"}, 404),
    ({"PATH_INFO": "/api/purchases/{sale}"}, 404),
    ({"PATH_INFO": "/api/purchases/x-{ticket}"}, 404),
    ({"PATH_INFO": "/api/purchases/{sale}-{ticket}\n"}, 404),
    ({"PATH_INFO": "/api/purchases/{sale}-9999999999999999999"}, 404),
    ({"PATH_INFO": "/api/flash-sales/x/purchases/{ticket}"}, 404),
    ({"HTTP_AUTHORIZATION": None}, 401),
    ({"HTTP_AUTHORIZATION": "Bearer a.b.c"}, 401),
    ({"HTTP_AUTHORIZATION": "Basic YTpi"}, 401),
]


@pytest.mark.parametrize(("environ", "status"), NOT_PLAIN, ids=str)
def test_whatever_is_not_plain_is_flasks(ways, make_sale, me, environ, status):
    sale = make_sale()
    ticket = buy(sale, me)
    environ = {name: value and value.format(sale=sale.id, ticket=ticket) for name, value in environ.items()}

    answer = assert_told_alike(ways, by_doorstep=False, **look_of(me, sale, ticket) | environ)

    assert status in (None, int(answer.status[:3]))


@pytest.mark.parametrize("header", ["HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT", "HTTP_TRANSFER_ENCODING"])
def test_a_wish_is_flasks(ways, make_sale, me, header):
    sale = make_sale()

    answer, by_doorstep = ways.through(**look_of(me, sale, buy(sale, me)), **{header: "wait=0"})

    assert (told(answer), by_doorstep) == ((200, "queued"), False)


def test_tokens_that_are_no_good_are_flasks_to_refuse(ways, make_sale, me):
    sale = make_sale()
    ticket = buy(sale, me)
    forged = bearer(me)[:-4] + "AAAA"
    expired = f"Bearer {issue_access_token(me, 'customer', timedelta(seconds=-60))}"
    refresh = f"Bearer {issue_refresh_token(me, 'customer')}"
    for token in (forged, expired, refresh):
        environ = look_of(me, sale, ticket, HTTP_AUTHORIZATION=token)
        assert assert_told_alike(ways, by_doorstep=False, **environ).status.startswith("401")


@pytest.mark.parametrize("query", ["", "wait=0.05"])
@pytest.mark.parametrize("is_settled", [False, True])
def test_somebody_elses_purchase_is_nobodys_and_an_admin_sees_it(ways, make_sale, me, query, is_settled):
    """And nobody holds a place to wait for it."""
    sale = make_sale()
    ticket = buy(sale, me)
    if is_settled:
        settle_turn(sale.id)
    admin = f"Bearer {issue_access_token(next(numbers), 'admin')}"

    theirs = look_of(next(numbers), sale, ticket, QUERY_STRING=query)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(waiters(), "wait", lambda *_, **__: pytest.fail("waited"))
        assert told(ways.through(**theirs)[0]) == (404, "PURCHASE_NOT_FOUND")
    nothing = assert_told_alike(ways, by_doorstep=False, **theirs)
    unknown = assert_told_alike(ways, by_doorstep=False, **look_of(me, sale, ticket + 1, QUERY_STRING=query))
    no_sale = assert_told_alike(ways, by_doorstep=False, **look_of(me, 999_999, ticket, QUERY_STRING=query))
    seen = assert_told_alike(ways, **look_of(me, sale, ticket, QUERY_STRING=query, HTTP_AUTHORIZATION=admin))

    assert told(nothing) == told(unknown) == told(no_sale) == (404, "PURCHASE_NOT_FOUND")
    assert nothing.alike() == unknown.alike()
    assert told(seen) == (200, "confirmed" if is_settled else "queued")


@pytest.mark.parametrize("query", ["", "wait=0.05"])
def test_a_request_that_had_to_line_up_anew_is_found_under_its_first_ticket(ways, make_sale, me, query):
    sale = make_sale(total_stock=50)
    for user_id in (me + 1_000_000, me + 2_000_000):
        buy(sale, user_id)
    settle_turn(sale.id)
    box = rediskeys.mailbox(sale.id)
    redis_client().delete(box)
    entry = {"u": me, "k": "p", "q": 1, "n": "other", "t": to_ms(now())}
    redis_client().xadd(box, entry, id="0-2")
    environ = look_of(me, sale, 2, QUERY_STRING=query)

    assert told(assert_told_alike(ways, **environ)) == (200, "queued")
    # As `settle_turn` leaves it, between its telling and the next turn.
    redis_client().xdel(box, "0-2")
    redis_client().xadd(box, entry | {"o": 2}, id="0-3")
    redis_client().set(rediskeys.moved(sale.id, 2, me), 3)
    assert json.loads(assert_told_alike(ways, **environ).body)["data"]["purchaseId"] == f"{sale.id}-3"
    settle_turn(sale.id)
    answer = assert_told_alike(ways, **environ)

    assert (told(answer), json.loads(answer.body)["data"]["ticket"]) == ((200, "confirmed"), 3)
    assert told(assert_told_alike(ways, **look_of(me + 2_000_000, sale, 2, QUERY_STRING=query))) == (200, "confirmed")


def test_a_second_try_whose_key_was_forgotten_is_shown_as_the_first(ways, make_sale, me):
    sale = make_sale()
    buy(sale, me, idempotency_key="once")
    redis_client().delete(rediskeys.idempotency(sale.id, me, "once"))
    second = buy(sale, me, idempotency_key="once")
    settle_turn(sale.id)

    answer = assert_told_alike(ways, **look_of(me, sale, second))

    assert (told(answer), json.loads(answer.body)["data"]["ticket"]) == ((200, "confirmed"), 1)


def test_a_sale_whose_history_was_archived_is_flasks_to_tell(ways, make_sale, me):
    sale = make_sale()
    end_sale(sale.id)
    with transaction() as session:
        session.execute(text("UPDATE flash_sales SET history_archived_at = now()"))
        session.execute(text("INSERT INTO archived_books VALUES (:id, '{}', '{}', '{}')"), {"id": sale.id})

    for form in FORMS:
        answer = assert_told_alike(ways, by_doorstep=False, **look_of(me, sale, 1, form))
        assert told(answer) == (410, "HISTORY_ARCHIVED")
