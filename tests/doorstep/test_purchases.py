"""Looks at purchases, before Flask and by Flask, side by side: the same stores, the same answers."""

import json
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from models import holds, rediskeys
from models.clock import now, to_ms
from models.database import engine, transaction
from models.gate import admit
from models.ip_ranges import Action
from models.purchase import Kind
from models.redisclient import redis_client
from models.revocations import revoke
from models.sales import end_sale
from models.settings import settings
from models.settle import settle_turn
from models.tokens import issue_access_token, issue_refresh_token, read_quickly
from tests.doorstep.sides import Ways, bearer, numbers
from tests.doorstep.test_looks import look
from web import doorstep, looks, stopping
from web.app import create_app
from web.news import news
from web.waiting import waiters

PATIENCE_SECONDS = 60
FORMS = ["/api/purchases/{sale}-{ticket}", "/api/flash-sales/{sale}/purchases/{ticket}"]


def look_of(user_id, sale, ticket, form=FORMS[0], **environ):
    path = form.format(sale=getattr(sale, "id", sale), ticket=ticket)
    return look(path, HTTP_AUTHORIZATION=bearer(user_id)) | environ


def assert_told_alike(ways, *, by_doorstep=True, **environ):
    """Nobody is changed by being looked at, so both ways are asked one after the other."""
    short, was_short = ways.through(**environ)
    long = ways.around(**environ)
    assert short.alike() == long.alike()
    assert was_short is by_doorstep, short
    return short


def told(answer):
    body = json.loads(answer.body)
    return (int(answer.status[:3]), (body.get("data") or {}).get("status") or body.get("code"))


def buy(sale, user_id, kind=Kind.PURCHASE, quantity=1, **named):
    return admit(sale.id, user_id, kind, quantity, **named).ticket


@pytest.fixture
def me():
    return next(numbers)


@pytest.fixture
def _ears(ways):
    """This process hears the news, and remembers none of the last test: its sales had the same ids."""
    waiters().missed()
    assert news().wait_until_connected(PATIENCE_SECONDS)


def eventually(is_so):
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := is_so()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


@contextmanager
def statements():
    """What this thread asks PostgreSQL meanwhile."""
    asked, here = [], threading.get_ident()

    def note(_connection, _cursor, statement, *_):
        if threading.get_ident() == here:
            asked.append(statement)

    event.listen(engine(), "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine(), "before_cursor_execute", note)


@contextmanager
def settled_when_somebody_waits(sale):
    def settle():
        eventually(lambda: waiters()._waits.get(sale.id))
        settle_turn(sale.id)

    worker = threading.Thread(target=settle)
    worker.start()
    yield
    worker.join()


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
    ({"PATH_INFO": "/api/purchases/{sale}-{ticket}/"}, 404),
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


class TestWaiting:
    pytestmark = pytest.mark.usefixtures("_ears")

    def test_whoever_waits_in_line_is_woken_and_postgres_is_not_asked(self, ways, make_sale, me):
        for ask in (ways.through, lambda **environ: (ways.around(**environ), None)):
            sale = make_sale()
            ticket = buy(sale, me)
            with statements() as asked, settled_when_somebody_waits(sale):
                answer, by_doorstep = ask(**look_of(me, sale, ticket, QUERY_STRING="wait=30"))
            assert (told(answer), asked) == ((200, "confirmed"), [])
            assert by_doorstep in (True, None)

    def test_whoever_asks_a_moment_after_the_outcome_hears_it_from_the_news(self, ways, make_sale, me):
        sale = make_sale(total_stock=1)
        tickets = {"confirmed": buy(sale, me), "rejected": buy(sale, me)}
        waiters().heard_of(sale.id, 1, me)
        settle_turn(sale.id)
        eventually(lambda: waiters().heard_of(sale.id, tickets["rejected"], me))

        for status, ticket in tickets.items():
            with statements() as asked:
                answer = assert_told_alike(ways, **look_of(me, sale, ticket, QUERY_STRING="wait=30"))
            assert (told(answer), asked) == ((200, status), [])
        with statements() as asked:
            assert told(ways.through(**look_of(me, sale, 1))[0]) == (200, "confirmed")
        assert len([each for each in asked if "FROM purchases" in each]) == 1, "or nothing is counted here"
        theirs = look_of(next(numbers), sale, 1, QUERY_STRING="wait=30")
        assert told(assert_told_alike(ways, by_doorstep=False, **theirs)) == (404, "PURCHASE_NOT_FOUND")

    def test_an_outcome_that_comes_while_redis_is_asked_is_heard_from_the_news(self, ways, make_sale, me, monkeypatch):
        look_there = looks.look
        for ask in (ways.through, lambda **environ: (ways.around(**environ), None)):
            sale = make_sale()
            ticket = buy(sale, me)

            def settle_first(onlooker, place, sale=sale, ticket=ticket):
                settling = threading.Thread(target=settle_turn, args=(sale.id,))
                settling.start()
                settling.join()
                eventually(lambda: waiters().heard_of(sale.id, ticket, me))
                return look_there(onlooker, place)

            monkeypatch.setattr(looks, "look", settle_first)
            with statements() as asked:
                answer, _ = ask(**look_of(me, sale, ticket, QUERY_STRING="wait=30"))
            assert (told(answer), asked) == ((200, "confirmed"), [])

    def test_a_token_that_was_given_back_hears_nothing_though_the_news_had_it(self, ways, make_sale, me):
        sale = make_sale()
        ticket = buy(sale, me)
        waiters().heard_of(sale.id, ticket, me)
        settle_turn(sale.id)
        eventually(lambda: waiters().heard_of(sale.id, ticket, me))
        token = bearer(me)
        claims = read_quickly(token.removeprefix("Bearer "), "access")

        for query in ("wait=30", ""):
            environ = look_of(me, sale, ticket, QUERY_STRING=query, HTTP_AUTHORIZATION=token)
            assert told(assert_told_alike(ways, **environ)) == (200, "confirmed")
        revoke(me, claims.jti, claims.expires_at)
        for query in ("wait=30", ""):
            environ = look_of(me, sale, ticket, QUERY_STRING=query, HTTP_AUTHORIZATION=token)
            assert told(assert_told_alike(ways, by_doorstep=False, **environ)) == (401, "TOKEN_REVOKED")

    def test_an_outcome_whose_entry_still_lies_in_the_mailbox_is_shown(self, ways, make_sale, me, monkeypatch):
        """A worker that died between the commit and the telling: the mailbox says that it waits, PostgreSQL knows."""
        sale = make_sale()
        ticket = buy(sale, me)
        monkeypatch.setattr("models.settle.announce", lambda *_, **__: None)
        settle_turn(sale.id)
        assert redis_client().xlen(rediskeys.mailbox(sale.id)) == 1

        for query in ("", "wait=30"):
            answer = assert_told_alike(ways, **look_of(me, sale, ticket, QUERY_STRING=query))
            assert told(answer) == (200, "confirmed")

    def test_whoever_finds_no_place_to_wait_is_told_how_it_stands(self, ways, make_sale, me, monkeypatch):
        sale = make_sale()
        monkeypatch.setattr(waiters(), "_places", threading.BoundedSemaphore(1))
        assert waiters()._places.acquire()

        answer = assert_told_alike(ways, **look_of(me, sale, buy(sale, me), QUERY_STRING="wait=30"))

        assert told(answer) == (200, "queued")

    def test_a_process_that_stops_tells_those_who_wait_how_it_stands(self, ways, make_sale, me, monkeypatch):
        sale = make_sale()
        ticket = buy(sale, me)

        def stop():
            eventually(lambda: waiters()._waits.get(sale.id))
            monkeypatch.setattr(stopping, "_asked", True)
            monkeypatch.setattr(waiters(), "_leaving", True)
            waiters().missed()

        stopper = threading.Thread(target=stop)
        stopper.start()
        answer, by_doorstep = ways.through(**look_of(me, sale, ticket, QUERY_STRING="wait=30"))
        stopper.join()
        refused, refused_there = ways.through(**look_of(me, sale, ticket))

        assert (told(answer), by_doorstep, answer.headers["Connection"]) == ((200, "queued"), True, "close")
        assert (told(refused)[0], refused_there, refused.headers["Connection"]) == (503, False, "close")


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
