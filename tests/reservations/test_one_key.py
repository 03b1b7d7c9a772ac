"""One Idempotency-Key is one request, though its product has gone on to another sale and the worker is behind."""

from functools import partial

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text

from models import mailbox, reservations, sales
from models.audit import audit_sale
from models.database import transaction
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.reservations import GATES_MAX, sale_of_key
from models.sale import FlashSale, SaleState
from models.settle import settle_turn
from tests.reservations.conftest import check_refusal
from web import synchronous

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
def retry(call, make_user, make_sale, no_worker):
    """retry(path, {…}) -> (answer, sale, next sale): a buyer's first try was let into a sale that has ended since, and
    waits there; they try again, with whatever they change of it, when the product's next sale is on."""
    user = make_user()

    def try_again(path="/api/reserve", **changes):
        first = make_sale()
        body = {"productId": first.product_id, "quantity": 2}
        assert call(user, "POST", path, body, Idempotency_Key="k").status_code == 202
        sales.end_sale(first.id)
        following = make_sale(product_id=first.product_id)
        return call(user, "POST", path, body | changes, Idempotency_Key="k"), first, following

    return try_again


@pytest.fixture
def forgotten(call, worker, make_user, make_sale):
    """forgotten(what, quantity) -> (ask, first, again, sale): a buyer had one unit under a key that Redis has forgotten
    since, and asks for so many under it. `ask` asks as they do."""
    sale, user = make_sale(), make_user()

    def ask_again(what, quantity):
        path, wishes = f"/api/flash-sales/{sale.id}/{what}", {"Idempotency_Key": "k", "Prefer": "wait=5"}
        first = call(user, "POST", path, {"quantity": 1}, **wishes)
        redis_client().flushall()
        again = call(user, "POST", path, {"quantity": quantity}, **wishes)
        return partial(call, user), first, again, sale

    return ask_again


@pytest.mark.parametrize("what", ["purchases", "reservations"])
def test_the_same_request_under_a_key_that_redis_forgot_has_the_firsts_outcome(forgotten, sale_row, what):
    ask, first, again, sale = forgotten(what, 1)

    read = ask("GET", f"/api/purchases/{sale.id}-2?wait=1")

    assert (again.status_code, again.json["data"], read.json["data"]) == (201, first.json["data"], first.json["data"])
    row = sale_row(sale.id)
    assert row.sold + row.reserved == 1


@pytest.mark.parametrize("what", ["purchases", "reservations"])
def test_another_request_under_a_key_that_redis_forgot_is_refused_and_reads_as_rejected(forgotten, sale_row, what):
    ask, _, other, sale = forgotten(what, 2)

    read, waited_for = (ask("GET", f"/api/purchases/{sale.id}-2{wait}").json["data"] for wait in ("", "?wait=1"))

    check_refusal(other, 422, "IDEMPOTENCY_KEY_REUSED")
    assert (read["status"], read["reason"], read["quantity"]) == ("rejected", "DUPLICATE", 2)
    assert waited_for == read
    assert ask("GET", "/api/users/me/purchases").json["data"][0] == read
    check_refusal(ask("DELETE", f"/api/purchases/{sale.id}-2"), 409, "RESERVATION_CLOSED")
    row = sale_row(sale.id)
    assert (row.sold + row.reserved, audit_sale(sale.id).agrees) == (1, True)


@pytest.mark.parametrize("path", ["/api/reserve", "/purchase"])
def test_a_retry_finds_its_first_try_in_the_line_of_the_sale_before(retry, sale_row, path):
    again, sale, following = retry(path)
    for each in (sale, following):
        settle_turn(each.id)

    assert (again.status_code, again.headers["Location"]) == (202, f"/api/purchases/{sale.id}-1")
    units = [(row.sold + row.reserved, row.settled_through) for row in map(sale_row, (sale.id, following.id))]
    assert units == [(2, 1), (0, 0)]
    assert audit_sale(sale.id).agrees
    assert audit_sale(following.id).agrees


def test_a_retry_is_answered_with_what_its_first_try_comes_to_meanwhile(retry, monkeypatch):
    monkeypatch.setattr(synchronous, "sale_of_key", _then(settle_turn, sale_of_key))

    again, sale, _ = retry()

    assert (again.status_code, again.json["data"]["purchaseId"]) == (201, f"{sale.id}-1")
    assert again.json["data"]["status"] == "reserved"


def test_a_retry_is_found_though_redis_loses_the_key_while_it_is_looked_for(retry, sale_row, monkeypatch):
    def settle_and_forget(sale_id):
        settle_turn(sale_id)
        redis_client().flushall()

    monkeypatch.setattr(synchronous, "sale_of_key", _then(settle_and_forget, sale_of_key))

    again, sale, following = retry()

    assert (again.status_code, again.json["data"]["purchaseId"]) == (201, f"{sale.id}-1")
    assert mailbox.read(following.id, 1) == []


def test_another_request_under_the_key_of_one_in_line_is_refused(retry):
    again, _, following = retry(quantity=1)

    check_refusal(again, 422, "IDEMPOTENCY_KEY_REUSED")
    assert mailbox.read(following.id, 1) == []


def test_where_redis_cannot_say_whether_a_key_is_new_nobody_is_let_in(call, make_user, make_sale, monkeypatch):
    def is_away(_keys):
        raise RedisConnectionError

    monkeypatch.setattr(reservations, "read_many", is_away)
    sale = make_sale()

    refused = call(
        make_user(), "POST", "/api/reserve", {"productId": sale.product_id, "quantity": 1}, Idempotency_Key="k"
    )

    check_refusal(refused, 503)
    assert mailbox.read(sale.id, 1) == []


def test_the_same_key_of_somebody_else_is_another_request(call, make_user, make_sale, no_worker):
    sale = make_sale()
    for _ in range(2):
        body = {"productId": sale.product_id, "quantity": 1}
        assert call(make_user(), "POST", "/api/reserve", body, Idempotency_Key="k").status_code == 202

    assert len(mailbox.read(sale.id, 3)) == 2


def test_the_gates_that_are_asked_for_a_key_are_those_of_late_and_never_too_many(make_sale, monkeypatch):
    asked = []
    monkeypatch.setattr(reservations, "read_many", lambda keys: asked.extend(keys) or [None] * len(keys))
    over = {"state": SaleState.ENDED, "end_reason": "time-ended"}
    old = make_sale(**over)
    runs = [make_sale(product_id=old.product_id, **over) for _ in range(GATES_MAX + 1)]
    make_sale()
    with transaction() as session:
        session.execute(
            text("UPDATE flash_sales SET updated_at = now() - interval '25 hours', starts_at = now() WHERE id = :id"),
            {"id": old.id},
        )

    assert sale_of_key(old.product_id, 1, "k") is None

    assert [_sale_in(key) for key in asked] == [sale.id for sale in reversed(runs[1:])]


def test_a_key_is_found_in_the_line_of_a_sale_that_is_out_of_sight(make_sale):
    sale = make_sale()
    admit(sale.id, 7, Kind.PURCHASE, 1, idempotency_key="k")
    sales.end_sale(sale.id)
    sales.archive_sale(sale.id)

    assert sale_of_key(sale.product_id, 7, "k") == sale.id
    assert sale_of_key(sale.product_id, 7, "another") is None
    assert sale_of_key(sale.product_id, 8, "k") is None


def _then(happens, look):
    """The look, once something has happened to the first sale of its product."""

    def look_later(product_id, *asked):
        with transaction() as session:
            first = session.query(FlashSale.id).filter_by(product_id=product_id).order_by(FlashSale.id).first()[0]
        if mailbox.read(first, 1):
            happens(first)
        return look(product_id, *asked)

    return look_later


def _sale_in(key):
    return int(key.removeprefix("{sale:").partition("}")[0])
