"""Reference 003, request by request: a product with a stock, reserve, check out, cancel, status, and time."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.reference.conftest import assert_refusal, eventually


@pytest.fixture
def product(shop, admin):
    """product(total_stock=200, …) -> the id of a product that is made as the document makes it"""

    def make(**fields):
        body = {
            "name": "Flash Deal Laptop",
            "description": "High-performance laptop with discount",
            "total_stock": 200,
        } | fields
        made = shop.call("POST", "/api/products", body, admin.token)
        assert made.status == 201, made
        return made.body["data"]["id"]

    return make


def reserve(shop, account, product_id, quantity=2, **headers):
    body = {"user_id": account.id, "product_id": int(product_id), "quantity": quantity}
    return shop.call("POST", "/api/reserve", body, account.token, headers)


def check_out(shop, account, product_id, quantity=2, total=1999.98, **headers):
    body = {"user_id": account.id, "product_id": int(product_id), "quantity": quantity, "total_amount": total}
    return shop.call("POST", "/api/checkout", body, account.token, headers)


def cancel(shop, account, product_id):
    return shop.call("DELETE", f"/api/reserve/{account.id}/{product_id}", token=account.token)


def status(shop, product_id):
    """(total, reserved, available, sold), for anybody to see."""
    answer = shop.call("GET", f"/api/products/{product_id}/status")
    assert answer.status == 200
    data = answer.body["data"]
    return tuple(data[name] for name in ("totalStock", "reservedStock", "availableStock", "soldStock"))


def assert_success(answer, code):
    """The shape that the document shows of every success."""
    assert answer.status == code, answer
    assert answer.body["success"] is True
    assert isinstance(answer.body["message"], str)
    return answer.body["data"]


def test_reserve_works_as_soon_as_a_product_is_made(shop, customer, product):
    product_id = product()
    assert status(shop, product_id) == (200, 0, 200, 0)

    held = assert_success(reserve(shop, customer, product_id), 201)

    assert (held["userId"], held["productId"], held["quantity"], held["status"]) == (
        customer.id,
        product_id,
        2,
        "reserved",
    )
    assert held["expiresAt"].endswith("Z")
    assert 595 <= held["secondsLeft"] <= 600, "ten minutes"
    assert status(shop, product_id) == (200, 2, 198, 0)


def test_checkout_completes_the_purchase_at_the_total_as_given_where_there_is_no_price(shop, customer, product):
    product_id = product()
    reserve(shop, customer, product_id)

    bought = assert_success(check_out(shop, customer, product_id), 200)

    assert (bought["quantity"], bought["totalAmount"], bought["status"]) == (2, 1999.98, "confirmed")
    assert status(shop, product_id) == (200, 0, 198, 2)
    purchases = shop.call("GET", "/api/users/me/purchases", token=customer.token).body["data"]
    assert [(each["status"], each["totalAmount"]) for each in purchases] == [("confirmed", 1999.98)]


def test_a_priced_product_is_checked_out_at_its_price_and_at_no_other(shop, customer, product):
    product_id = product(price=999.99)
    reserve(shop, customer, product_id)

    wrong = check_out(shop, customer, product_id, total=1.00)
    assert_refusal(wrong, 409, "TOTAL_MISMATCH")
    assert wrong.body["data"] == {"expectedTotal": 1999.98, "currency": "USD"}
    assert status(shop, product_id) == (200, 2, 198, 0)

    assert_success(check_out(shop, customer, product_id, total=1999.98), 200)


def test_a_reservation_is_cancelled_before_it_runs_out_and_its_units_can_be_reserved_again(
    shop, customer, sign_up, product
):
    product_id = product(total_stock=2)
    reserve(shop, customer, product_id)
    somebody_else = sign_up()
    assert_refusal(reserve(shop, somebody_else, product_id, 1), 409, "SOLD_OUT")

    cancelled = assert_success(cancel(shop, customer, product_id), 200)

    assert cancelled["quantity"] == 2
    assert status(shop, product_id) == (2, 0, 2, 0)
    assert_success(reserve(shop, somebody_else, product_id, 2), 201)


def test_a_reservation_runs_out_by_itself_and_comes_too_late_for_checkout(shop, admin, customer, sign_up, product):
    product_id = product(total_stock=1)
    sale_id = shop.call("GET", f"/api/products/{product_id}/status").body["data"]["flashSaleId"]
    shop.call("PATCH", f"/api/flash-sales/{sale_id}", {"holdSeconds": 1}, admin.token)
    assert_success(reserve(shop, customer, product_id, 1), 201)

    # Nobody does anything: the stock becomes available again.
    eventually(lambda: status(shop, product_id) == (1, 0, 1, 0), "the unit comes back")

    refused = check_out(shop, customer, product_id, 1)
    assert assert_refusal(refused, 410, "RESERVATION_EXPIRED")["error"] == "The reservation has expired"
    assert_refusal(cancel(shop, customer, product_id), 410, "RESERVATION_EXPIRED")
    another = sign_up()
    eventually(lambda: reserve(shop, another, product_id, 1).status == 201, "the gate has the unit, too")


def test_a_users_reservations_are_listed_while_they_run(shop, admin, customer, sign_up, product):
    first, second = product(), product()
    reserve(shop, customer, first, 1)
    reserve(shop, customer, second, 2)
    path = f"/api/users/{customer.id}/reservations"

    listed = assert_success(shop.call("GET", path, token=customer.token), 200)

    assert [(hold["productId"], hold["quantity"]) for hold in listed] == [(first, 1), (second, 2)]
    assert all(0 < hold["secondsLeft"] <= 600 for hold in listed)
    assert shop.call("GET", path, token=admin.token).body["data"][0]["productId"] == first
    assert_refusal(shop.call("GET", path, token=sign_up().token), 403, "NOT_YOUR_ACCOUNT")
    assert_refusal(shop.call("GET", path), 401)

    check_out(shop, customer, first, 1)
    cancel(shop, customer, second)
    assert assert_success(shop.call("GET", path, token=customer.token), 200) == []


def test_many_users_reserve_at_once_and_no_unit_is_reserved_twice(shop, sign_up, product):
    product_id = product(total_stock=5)
    buyers = [sign_up() for _ in range(12)]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda buyer: reserve(shop, buyer, product_id, 1), buyers))

    eventually(lambda: status(shop, product_id) == (5, 5, 0, 0), "all units are held, and not one more")
    assert all(answer.status in (201, 202, 409) for answer in answers)
    assert all("success" in answer.body for answer in answers)


def test_a_checkout_that_is_sent_twice_with_one_key_buys_once(shop, customer, product):
    product_id = product()
    reserve(shop, customer, product_id)

    first = check_out(shop, customer, product_id, **{"Idempotency-Key": "pay-once"})
    again = check_out(shop, customer, product_id, **{"Idempotency-Key": "pay-once"})
    without = check_out(shop, customer, product_id)
    other = check_out(shop, customer, product_id, total=5, **{"Idempotency-Key": "pay-once"})

    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert_refusal(without, 409, "RESERVATION_CLOSED")
    assert_refusal(other, 422, "IDEMPOTENCY_KEY_REUSED")
    assert status(shop, product_id) == (200, 0, 198, 2)


def test_a_reservation_that_is_sent_twice_with_one_key_holds_once(shop, customer, product):
    product_id = product()

    first = reserve(shop, customer, product_id, **{"Idempotency-Key": "hold-once"})
    again = reserve(shop, customer, product_id, **{"Idempotency-Key": "hold-once"})

    assert first.body["data"]["purchaseId"] == again.body["data"]["purchaseId"]
    assert status(shop, product_id) == (200, 2, 198, 0)


def test_what_is_not_reserved_can_be_neither_bought_nor_cancelled(shop, customer, product):
    product_id = product()

    assert_refusal(check_out(shop, customer, product_id), 404, "RESERVATION_NOT_FOUND")
    assert_refusal(cancel(shop, customer, product_id), 404, "RESERVATION_NOT_FOUND")


def test_a_part_of_what_is_held_is_not_guessed_at(shop, customer, product):
    product_id = product()
    reserve(shop, customer, product_id, 3)

    refused = check_out(shop, customer, product_id, 2)

    assert_refusal(refused, 409, "QUANTITY_MISMATCH")
    assert refused.body["data"] == {"heldQuantity": 3}


def test_nobody_acts_in_somebody_elses_name(shop, customer, sign_up, product):
    product_id, stranger = product(), sign_up()
    reserve(shop, customer, product_id)
    body = {"user_id": customer.id, "product_id": product_id, "quantity": 2}

    for path, extra in (("/api/reserve", {}), ("/api/checkout", {"total_amount": 1})):
        assert_refusal(shop.call("POST", path, body | extra, stranger.token), 403, "NOT_YOUR_ACCOUNT")
        named = body | extra | {"user_id": "user123"}
        assert_refusal(shop.call("POST", path, named, stranger.token), 403, "NOT_YOUR_ACCOUNT")
    path = f"/api/reserve/{customer.id}/{product_id}"
    assert_refusal(shop.call("DELETE", path, token=stranger.token), 403, "NOT_YOUR_ACCOUNT")
    assert status(shop, product_id) == (200, 2, 198, 0)


def test_a_token_is_needed_where_the_document_forgot_to_ask_for_one(shop, customer, product):
    product_id = product()
    body = {"user_id": customer.id, "product_id": product_id, "quantity": 1}

    assert_refusal(shop.call("POST", "/api/products", {"name": "x", "total_stock": 1}), 401)
    assert_refusal(shop.call("POST", "/api/products", {"name": "x", "total_stock": 1}, customer.token), 403)
    assert_refusal(shop.call("POST", "/api/reserve", body), 401)
    assert_refusal(shop.call("POST", "/api/checkout", body | {"total_amount": 1}), 401)
    assert_refusal(shop.call("DELETE", f"/api/reserve/{customer.id}/{product_id}"), 401)


@pytest.mark.parametrize("product_id", ["999999999", "67c63fc7c0d12fec440ba619"])
def test_a_product_that_is_not_there_is_not_found(shop, customer, product_id):
    body = {"user_id": customer.id, "product_id": product_id, "quantity": 1}
    calls = [
        ("POST", "/api/reserve", body),
        ("POST", "/api/checkout", body | {"total_amount": 1}),
        ("DELETE", f"/api/reserve/{customer.id}/{product_id}", None),
        ("GET", f"/api/products/{product_id}/status", None),
    ]

    for method, path, sent in calls:
        assert assert_refusal(shop.call(method, path, sent, customer.token), 404)["error"] == "Product not found"


def test_the_hold_is_timed_by_the_servers_clock(shop, customer, product):
    product_id = product()
    reserve(shop, customer, product_id)

    first = shop.call("GET", f"/api/users/{customer.id}/reservations", token=customer.token).body
    time.sleep(1.1)
    later = shop.call("GET", f"/api/users/{customer.id}/reservations", token=customer.token).body

    assert first["meta"]["serverTime"] < later["meta"]["serverTime"]
    assert later["data"][0]["secondsLeft"] < first["data"][0]["secondsLeft"]
    assert later["data"][0]["expiresAt"] == first["data"][0]["expiresAt"]
