"""A sale and the live sales are read about twice a second, and handed out to a crowd meanwhile."""

import re
import threading
import time

import pytest
from sqlalchemy import event, text

from models.clock import now
from models.database import engine, transaction
from web import fresh
from web.fresh import ANSWERS_MAX, KEPT_SECONDS, RENEW_SECONDS, answers
from web.standing import standing_copy


@pytest.fixture(autouse=True)
def _empty():
    """What another test's sales came to is not handed out: they had the same ids."""
    answers().forget()


@pytest.fixture
def clock(monkeypatch):
    """The clock that answers grow old by."""

    class Clock:
        now = 1_000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(fresh, "time", clock)
    return clock


@pytest.fixture
def reads():
    """How often PostgreSQL was asked for sales."""
    asked = []

    def note(_connection, _cursor, statement, *_):
        if "FROM flash_sales" in statement:
            asked.append(statement)

    event.listen(engine(), "before_cursor_execute", note)
    yield asked
    event.remove(engine(), "before_cursor_execute", note)


def _sell(sale, sold):
    """As a worker in another process does."""
    with transaction() as session:
        session.execute(text("UPDATE flash_sales SET sold = :sold WHERE id = :id"), {"sold": sold, "id": sale.id})


def _sold(client, sale):
    return client.get(f"/api/flash-sales/{sale.id}").json["data"]["soldCount"]


def test_a_crowd_has_one_answer_and_it_is_never_a_second_old(client, make_sale, reads, clock):
    sale = make_sale()
    assert _sold(client, sale) == 0
    once = len(reads)
    _sell(sale, 3)

    assert [_sold(client, sale) for _ in range(20)] == [0] * 20
    assert len(reads) == once

    clock.now += KEPT_SECONDS
    assert KEPT_SECONDS < 1
    assert _sold(client, sale) == 3


def test_one_of_the_crowd_renews_it_and_the_others_do_not_wait(client, make_sale, clock):
    sale = make_sale()
    _sold(client, sale)
    path = f"/api/flash-sales/{sale.id}"
    clock.now += RENEW_SECONDS

    assert answers().find(path) is None, "the first reads anew"
    assert answers().find(path) is not None, "the second is handed what is there"


def test_every_answer_has_the_time_of_its_own_moment(client, make_sale):
    sale = make_sale()
    for path in (f"/api/flash-sales/{sale.id}", "/api/flash-sales/live"):
        times = []
        for _ in range(3):
            data = client.get(path).json["data"]
            times.append((data if isinstance(data, dict) else data[0])["serverTime"])
            time.sleep(0.005)
        assert times == sorted(set(times)), "three different ones"
        assert abs((now() - now().fromisoformat(times[-1])).total_seconds()) < 60


def test_what_is_handed_out_is_what_is_read(client, make_sale):
    sale = make_sale()
    for path in (f"/api/flash-sales/{sale.id}", "/api/flash-sales/live", "/api/flash-sales/404404"):
        first, second = client.get(path), client.get(path)
        assert first.status_code == second.status_code
        assert first.mimetype == second.mimetype
        assert set(second.headers.keys()) >= set(first.headers.keys()) - {"RateLimit-Policy"}
        bodies = [answer.get_data(as_text=True) for answer in (first, second)]
        first, second = (re.sub(r'"serverTime":"[^"]*"', "", body) for body in bodies)
        assert first == second


def test_who_changes_a_sale_sees_the_change_at_once(client, make_sale, admin):
    sale = make_sale()
    path = f"/api/flash-sales/{sale.id}"
    before = client.get(path).json["data"]["title"]

    client.patch(path, json={"title": "Another"}, headers=admin)

    assert before != "Another"
    assert client.get(path).json["data"]["title"] == "Another"


def test_what_was_read_before_a_change_is_not_kept_after_it(store, clock):
    seen = answers().changes
    answers().forget()

    answers().keep("/old", b"{}", clock.now, seen)

    assert answers().find("/old") is None
    answers().keep("/new", b"{}", clock.now, answers().changes)
    assert answers().find("/new") == [b"{}"]


def test_a_refusal_and_a_query_are_not_kept(client, make_sale, reads):
    sale = make_sale()
    for path in ("/api/flash-sales/404404", f"/api/flash-sales/{sale.id}?x=1", "/api/flash-sales?limit=1"):
        reads.clear()
        client.get(path)
        client.get(path)
        assert len(reads) != 1, path


def test_only_so_many_answers_are_kept(store, clock):
    for number in range(ANSWERS_MAX + 10):
        answers().keep(f"/{number}", b"{}", clock.now, answers().changes)

    assert answers().find("/9") is None
    assert answers().find("/10") is not None
    assert answers().find(f"/{ANSWERS_MAX + 9}") is not None


def test_denied_addresses_are_handed_nothing(client, make_sale, admin):
    sale, stranger = make_sale(), {"REMOTE_ADDR": "203.0.113.9"}
    path = f"/api/flash-sales/{sale.id}"
    rule = {"network": "203.0.113.0/24", "action": "deny", "reason": "a test"}
    assert client.post("/api/ip-rules", json=rule, headers=admin).status_code == 201
    assert standing_copy().renew()
    assert _sold(client, sale) == 0

    assert client.get(path, environ_overrides=stranger).json["code"] == "ADDRESS_DENIED"


def test_many_at_once_are_handed_whole_answers(app, make_sale):
    sale = make_sale()
    wrong = []

    def look():
        client = app.test_client()
        for _ in range(30):
            answer = client.get(f"/api/flash-sales/{sale.id}")
            if answer.status_code != 200 or answer.json["data"]["id"] != str(sale.id):
                wrong.append(answer.get_data())

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_crowd_that_lines_up_or_is_refused_empties_nothing(client, make_sale, make_user, auth, reads):
    """And a control: a change does."""
    sale, header = make_sale(total_stock=1), auth(make_user())
    path = f"/api/flash-sales/{sale.id}"
    _sold(client, sale)
    before = answers().changes
    assert client.post(f"{path}/purchases", json={}, headers=header).status_code == 202
    assert client.post(f"{path}/purchases", json={"quantity": 2}, headers=header).status_code == 409
    assert client.post(f"{path}/purchases", json={}).status_code == 401
    assert client.post("/api/auth/login", json={"email": "a@b.test", "password": "nothing123"}).status_code == 401
    assert answers().changes == before

    admin = auth(make_user(role="admin"))
    assert client.post(f"{path}/pause", headers=admin).status_code == 200

    assert answers().changes == before + 1
