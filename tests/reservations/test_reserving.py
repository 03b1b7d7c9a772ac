"""Reserving: by sale and by product, at once or in line, again with a key, and what is refused."""

from datetime import timedelta

import pytest

from models import mailbox, sales
from models.holds import expire_due_holds
from models.redisclient import redis_client
from models.settle import settle_turn
from tests.reservations.conftest import check_refusal

pytestmark = pytest.mark.usefixtures("client")


def test_a_hold_by_product_is_there_when_it_is_answered(call, worker, make_user, make_sale):
    sale, user = make_sale(hold_seconds=90), make_user()

    answer = call(user, "POST", "/api/reserve", {"productId": str(sale.product_id), "quantity": 3})

    assert answer.status_code == 201
    held = answer.json["data"]
    assert (held["status"], held["quantity"], held["productId"]) == ("reserved", 3, str(sale.product_id))
    assert (held["unitPrice"], held["totalAmount"], held["currency"]) == (49.99, 149.97, "USD")
    assert 85 <= held["secondsLeft"] <= 90
    assert answer.headers["Location"] == f"/api/purchases/{held['purchaseId']}"


def test_both_ways_of_writing_names_and_ids_are_understood(call, worker, make_user, make_sale):
    sale, user = make_sale(), make_user()

    for body in (
        {"user_id": user.id, "product_id": sale.product_id, "quantity": 1},
        {"userId": str(user.id), "productId": str(sale.product_id), "quantity": 1},
        {"product_id": str(sale.product_id), "quantity": 1},
    ):
        assert call(user, "POST", "/api/reserve", body).status_code == 201


def test_a_hold_by_sale_waits_in_line_like_a_purchase(call, no_worker, make_user, make_sale):
    sale, user = make_sale(), make_user()

    queued = call(user, "POST", f"/api/flash-sales/{sale.id}/reservations", {"quantity": 2})
    assert queued.status_code == 202
    settle_turn(sale.id)
    held = call(user, "GET", queued.headers["Location"]).json["data"]

    assert (held["kind"], held["status"], held["quantity"]) == ("reservation", "reserved", 2)


def test_a_hold_by_sale_is_answered_at_once_to_whoever_prefers_to_wait(call, worker, make_user, make_sale):
    sale, user = make_sale(), make_user()

    held = call(user, "POST", f"/api/flash-sales/{sale.id}/reservations", {"quantity": 2}, Prefer="wait=5")

    assert (held.status_code, held.json["data"]["status"]) == (201, "reserved")


def test_who_is_not_answered_in_time_is_told_their_place_in_line(call, no_worker, make_user, make_sale):
    sale, user = make_sale(), make_user()

    queued = call(user, "POST", "/api/reserve", {"productId": sale.product_id, "quantity": 1})

    assert queued.status_code == 202
    assert (queued.json["data"]["status"], queued.json["data"]["position"]) == ("queued", 0)
    assert queued.headers["Location"] == f"/api/purchases/{sale.id}-1"


def test_the_same_key_holds_once_even_in_the_next_sale_of_the_product(call, worker, make_user, make_sale):
    first, user = make_sale(), make_user()
    body = {"productId": first.product_id, "quantity": 2}
    held = call(user, "POST", "/api/reserve", body, Idempotency_Key="k")
    sales.end_sale(first.id)
    second = make_sale(product_id=first.product_id)

    again = call(user, "POST", "/api/reserve", body, Idempotency_Key="k")
    other = call(user, "POST", "/api/reserve", body | {"quantity": 1}, Idempotency_Key="k")
    new = call(user, "POST", "/api/reserve", body, Idempotency_Key="another")

    assert (again.status_code, again.json["data"]["purchaseId"]) == (201, held.json["data"]["purchaseId"])
    check_refusal(other, 422, "IDEMPOTENCY_KEY_REUSED")
    assert new.json["data"]["saleId"] == str(second.id)


def test_a_key_is_remembered_when_redis_has_forgotten_it(call, worker, store, make_user, make_sale):

    sale, user = make_sale(), make_user()
    body = {"productId": sale.product_id, "quantity": 1}
    held = call(user, "POST", "/api/reserve", body, Idempotency_Key="k")
    redis_client().flushall()

    again = call(user, "POST", "/api/reserve", body, Idempotency_Key="k")

    assert again.json["data"]["purchaseId"] == held.json["data"]["purchaseId"]


@pytest.mark.usefixtures("worker")
def test_a_sold_out_sale_sells_again_when_a_hold_runs_out(call, make_user, make_sale, hold, run_out):
    sale, slow, quick = make_sale(total_stock=1), make_user(), make_user()
    hold(sale, slow)
    body = {"productId": sale.product_id, "quantity": 1}
    check_refusal(call(quick, "POST", "/api/reserve", body), 409, "SOLD_OUT")

    run_out(sale)
    assert expire_due_holds() == 1

    assert call(quick, "POST", "/api/reserve", body).status_code == 201
    check_refusal(call(slow, "POST", "/api/reserve", body), 409, "SOLD_OUT")


def test_a_top_up_shares_the_clock_of_the_hold_that_runs(call, worker, make_user, make_sale):
    sale, user = make_sale(), make_user()
    body = {"productId": sale.product_id, "quantity": 1}

    first, second = (call(user, "POST", "/api/reserve", body).json["data"] for _ in range(2))

    assert first["expiresAt"] == second["expiresAt"]


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        ({"opens_in": timedelta(hours=1)}, (409, "NOT_STARTED")),
        ({"paused": True}, (409, "PAUSED")),
        ({"state": "ended", "end_reason": "time-ended"}, (409, "ENDED")),
        ({"state": "ended", "end_reason": "sold-out"}, (409, "SOLD_OUT")),
        ({"total_stock": 1}, (409, "INSUFFICIENT_STOCK")),
        ({"max_per_purchase": 1}, (422, "LIMIT_EXCEEDED")),
        ({"max_per_user": 1}, (422, "LIMIT_EXCEEDED")),
    ],
)
def test_what_the_gate_refuses_is_refused_by_either_way_in(call, make_user, make_sale, terms, refusal):
    sale, user = make_sale(**terms), make_user()

    by_product = call(user, "POST", "/api/reserve", {"productId": sale.product_id, "quantity": 2})
    by_sale = call(user, "POST", f"/api/flash-sales/{sale.id}/reservations", {"quantity": 2})

    check_refusal(by_product, *refusal)
    check_refusal(by_sale, *refusal)


def test_what_the_line_refuses_is_refused_too(client, call, worker, make_user, make_sale):
    # flask-openapi can hold against the description only what a view raises.
    client.application.validate_response = False
    sale, user = make_sale(max_per_user=3), make_user()
    body = {"productId": sale.product_id, "quantity": 2}
    call(user, "POST", "/api/reserve", body)

    refused = call(user, "POST", "/api/reserve", body)

    assert check_refusal(refused, 422, "LIMIT_EXCEEDED")["data"]["status"] == "rejected"


@pytest.mark.parametrize("product_id", [999, "999", "67c63fc7c0d12fec440ba619", "9" * 30, "0"])
def test_a_product_that_is_not_there_is_not_found(call, make_user, product_id):
    refused = call(make_user(), "POST", "/api/reserve", {"productId": product_id, "quantity": 1})

    assert check_refusal(refused, 404, "PRODUCT_NOT_FOUND")["error"] == "Product not found"


def test_a_product_that_is_in_no_sale_says_so(call, make_user, make_product):
    refused = call(make_user(), "POST", "/api/reserve", {"productId": make_product().id, "quantity": 1})

    check_refusal(refused, 404, "SALE_NOT_FOUND")


@pytest.mark.parametrize("named", [7_777, "user123", "0", "9" * 40])
def test_nobody_reserves_for_somebody_else(call, make_user, make_sale, named, sale_row):
    sale = make_sale()
    body = {"user_id": named, "product_id": sale.product_id, "quantity": 1}

    check_refusal(call(make_user(), "POST", "/api/reserve", body), 403, "NOT_YOUR_ACCOUNT")
    assert sale_row(sale.id).reserved == 0


@pytest.mark.parametrize(
    ("mistake", "field"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": "1"}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": None}, "quantity"),
        ({"quantity": 1_000_001}, "quantity"),
        ({"quantity": 2**70}, "quantity"),
        ({"productId": None}, "productId"),
        ({"productId": ""}, "productId"),
        ({"productId": "a b"}, "productId"),
        ({"productId": "x" * 65}, "productId"),
        ({"productId": "٣"}, "productId"),
        ({"productId": -1}, "productId"),
        ({"productId": 1.5}, "productId"),
        ({"productId": [1]}, "productId"),
        ({"productId": {"$ne": 1}}, "productId"),
        ({"userId": False}, "userId"),
        ({"userId": ""}, "userId"),
        ({"holdSeconds": 9}, "holdSeconds"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_held(call, make_user, make_sale, mistake, field):
    sale = make_sale()

    refused = call(make_user(), "POST", "/api/reserve", {"productId": sale.product_id, "quantity": 1} | mistake)

    body = check_refusal(refused, 400, "VALIDATION_ERROR")
    assert [error["field"] for error in body["errors"]] == [field]
    assert mailbox.read(sale.id, 1) == []


@pytest.mark.parametrize("missing", ["productId", "quantity"])
def test_a_missing_field_is_named(call, make_user, missing):
    body = {"productId": 1, "quantity": 1}
    del body[missing]

    refused = check_refusal(call(make_user(), "POST", "/api/reserve", body), 400)

    assert [error["field"] for error in refused["errors"]] == [missing]


def test_a_product_with_a_stock_is_on_sale_at_once_and_without_one_it_is_not(call, worker, make_user):
    admin, user = make_user(role="admin"), make_user()
    body = {"name": "Flash Deal Laptop", "description": "With discount"}

    with_stock = call(admin, "POST", "/api/products", body | {"total_stock": 2}).json["data"]
    without = call(admin, "POST", "/api/products", body).json["data"]

    sale = call(None, "GET", f"/api/flash-sales/{with_stock['flashSaleId']}").json["data"]
    assert (sale["status"], sale["totalStock"], sale["endTime"], sale["flashPrice"]) == ("LIVE", 2, None, None)
    assert "flashSaleId" not in without
    held = call(user, "POST", "/api/reserve", {"product_id": with_stock["id"], "quantity": 2})
    assert held.status_code == 201
    check_refusal(call(user, "POST", "/api/reserve", {"product_id": without["id"], "quantity": 1}), 404)


@pytest.mark.parametrize("stock", [0, -1, 1.5, "200", True, 10_000_001])
def test_a_stock_that_is_none_makes_no_product(call, make_user, stock):
    admin = make_user(role="admin")

    refused = call(admin, "POST", "/api/products", {"name": "Laptop", "total_stock": stock})

    assert check_refusal(refused, 400)["errors"][0]["field"] in {"totalStock", "total_stock"}
    assert call(None, "GET", "/api/products").json["meta"]["total"] == 0
