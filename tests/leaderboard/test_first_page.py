"""The page that everybody looks at is kept for at most a second, and is right as soon as somebody buys."""

import pytest
from sqlalchemy import text

from models import first_page as first_pages
from models import holds, rediskeys
from models.database import transaction
from models.first_page import FIELD, FIRST_PAGE, _keep, _read, first_page, renew
from models.leaderboard import chronological
from models.purchase import Kind
from models.redisclient import redis_client
from models.sale_rules import SaleNotFoundError
from models.sales import archive_sale

MARK = "[]"


@pytest.fixture
def kept_long(monkeypatch):
    """A page is kept, for so many milliseconds, until a slow machine has done what a test is about."""
    monkeypatch.setattr(first_pages, "KEPT_MS", 60_000)
    return first_pages.KEPT_MS


def tickets(rows):
    return [row.ticket for row in rows]


def mark(sale, ends=""):
    """Keep a page that cannot be mistaken for a real one; `ends` is its last ticket, if it is full."""
    redis_client().hset(rediskeys.leaderboard(sale.id), mapping={"revision": 0, FIELD: MARK, "ends": ends})


def is_marked(sale):
    return redis_client().hget(rediskeys.leaderboard(sale.id), FIELD) == MARK


def test_what_is_kept_is_shown_and_is_gone_when_its_time_is_over(make_sale, make_user, buy, kept_long):
    sale = make_sale()
    buy(sale, (make_user(), 1))
    shown = first_page(sale.id)
    with transaction() as session:
        session.execute(text("UPDATE users SET name = 'Renamed'"))

    assert first_page(sale.id) == shown
    assert 0 < redis_client().pttl(rediskeys.leaderboard(sale.id)) <= kept_long
    redis_client().delete(rediskeys.leaderboard(sale.id))
    assert [row.name for row in first_page(sale.id)] == ["Renamed"]


def test_it_is_the_first_page_of_the_whole_list_and_one_row_more(make_sale, make_user, buy):
    sale = make_sale()
    ann = make_user()
    buy(sale, *[(ann, 1)] * (FIRST_PAGE + 5))

    assert first_page(sale.id) == chronological(sale.id, FIRST_PAGE + 1)


def test_a_purchase_is_on_the_kept_page_as_soon_as_it_is_settled(make_sale, make_user, buy):
    sale = make_sale()
    assert first_page(sale.id) == []

    bought = buy(sale, (make_user(), 1))

    assert tickets(first_page(sale.id)) == bought


def test_a_refund_and_a_late_checkout_change_the_kept_page_at_once(make_sale, make_user, buy):
    sale = make_sale()
    ann, ben = make_user(), make_user()
    [held] = buy(sale, (ann, 1), kind=Kind.RESERVATION)
    [bought] = buy(sale, (ben, 1))
    assert tickets(first_page(sale.id)) == [bought]

    holds.checkout(sale.id, [held], ann.id)
    assert tickets(first_page(sale.id)) == [held, bought]

    holds.refund(sale.id, bought, actor_id=ben.id, reason="unwanted")
    assert tickets(first_page(sale.id)) == [held]


@pytest.mark.usefixtures("kept_long")
def test_purchases_far_down_the_line_leave_the_kept_page_alone(make_sale, make_user, buy):
    sale = make_sale()
    ann = make_user()
    buy(sale, *[(ann, 1)] * (FIRST_PAGE + 1))
    assert len(first_page(sale.id)) == FIRST_PAGE + 1
    ends = redis_client().hget(rediskeys.leaderboard(sale.id), "ends")
    assert int(ends) == FIRST_PAGE + 1
    mark(sale, ends)

    [last] = buy(sale, (ann, 1))
    holds.refund(sale.id, last, actor_id=ann.id, reason="unwanted")
    assert is_marked(sale)

    holds.refund(sale.id, FIRST_PAGE + 1, actor_id=ann.id, reason="unwanted")
    assert not is_marked(sale)
    assert tickets(first_page(sale.id)) == list(range(1, FIRST_PAGE + 1))


@pytest.mark.usefixtures("kept_long")
def test_where_nobody_looks_nothing_is_read(make_sale, make_user, buy, monkeypatch):
    sale = make_sale()
    read = []
    monkeypatch.setattr(first_pages, "_read", lambda sale_id: read.append(sale_id) or _read(sale_id))

    buy(sale, (make_user(), 1))
    assert read == []

    first_page(sale.id)
    bought = buy(sale, (make_user(), 1))
    assert read == [sale.id, sale.id]
    assert tickets(first_page(sale.id))[-1:] == bought


def test_refused_requests_leave_the_kept_page_alone(make_sale, make_user, buy):
    sale = make_sale(max_per_user=1)
    ann = make_user()
    buy(sale, (ann, 1))
    mark(sale)

    buy(sale, (ann, 1), (ann, 1))

    assert is_marked(sale)


def test_a_slow_reader_does_not_replace_a_newer_page_with_an_older_one(make_sale, make_user, buy):
    sale = make_sale()
    old = _read(sale.id)
    bought = buy(sale, (make_user(), 1))

    seconds, _ = redis_client().time()
    _keep(sale.id, old, seconds * 1000)

    assert tickets(first_page(sale.id)) == bought


def test_a_page_that_was_read_too_long_ago_is_not_kept_at_all(make_sale):
    sale = make_sale()
    seconds, _ = redis_client().time()

    _keep(sale.id, _read(sale.id), (seconds - 2) * 1000)

    assert not redis_client().exists(rediskeys.leaderboard(sale.id))


def test_a_sale_that_is_unknown_or_archived_has_no_first_page(make_sale):
    sale = make_sale()
    with pytest.raises(SaleNotFoundError):
        first_page(sale.id + 1)

    archive_sale(sale.id)

    with pytest.raises(SaleNotFoundError):
        first_page(sale.id)
    renew(sale.id, ["0", "0"])


def test_without_redis_the_page_comes_straight_from_postgresql(store, make_sale, make_user, buy, look):
    sale = make_sale()
    ann = make_user(name="Alice")
    buy(sale, (ann, 1))
    store.valkey.kill()
    try:
        shown = look(ann, f"/api/flash-sales/{sale.id}/leaderboard")
        renew(sale.id, ["0", "0"])
    finally:
        store.valkey.start()
        redis_client().connection_pool.disconnect()

    assert [row["name"] for row in shown["data"]] == ["A***e"]
