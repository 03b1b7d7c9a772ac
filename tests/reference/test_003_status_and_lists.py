"""Reference 003 where it is read: a product's units and how its sale stands, and what became of a user's holds."""

import pytest

from tests.reference.conftest import assert_refusal, moment


@pytest.fixture
def stocked(make_product):
    """stocked() -> the id of a product with 200 units that are on sale at once"""
    return lambda: make_product(total_stock=200)


def reserve(shop, account, product_id, **headers):
    body = {"user_id": account.id, "product_id": product_id, "quantity": 1}
    return shop.call("POST", "/api/reserve", body, account.token, headers)


def status(shop, product_id):
    answer = shop.call("GET", f"/api/products/{product_id}/status")
    assert answer.status == 200
    return answer.body["data"]


def stands(shop, product_id):
    """How the sale stands, while all its units are unsold."""
    seen = status(shop, product_id)
    assert seen["availableStock"] == 200
    return seen["status"], seen["state"]


def test_the_status_says_whether_what_is_available_can_be_reserved(shop, admin, customer, stocked):
    product_id = stocked()
    path = f"/api/flash-sales/{status(shop, product_id)['flashSaleId']}"

    assert stands(shop, product_id) == ("LIVE", "live")
    for call, expected, refusal in (("pause", ("PAUSED", "live"), "PAUSED"), ("end", ("ENDED", "ended"), "ENDED")):
        assert shop.call("POST", f"{path}/{call}", token=admin.token).status == 200
        assert stands(shop, product_id) == expected
        assert_refusal(reserve(shop, customer, product_id), 409, refusal)


def test_the_status_says_when_a_sale_will_start_and_that_it_was_called_off(shop, admin, customer, create, make_product):
    product_id = make_product()
    times = {"startTime": moment(hours=1), "endTime": moment(hours=2)}
    sale = create(productId=product_id, totalStock=200, **times).body["data"]

    seen = status(shop, product_id)

    assert stands(shop, product_id) == ("UPCOMING", "scheduled")
    assert {name: seen[name] for name in times} == {name: sale[name] for name in times}
    assert_refusal(reserve(shop, customer, product_id), 409, "NOT_STARTED")
    assert shop.call("POST", f"/api/flash-sales/{sale['id']}/cancel", token=admin.token).status == 200
    assert stands(shop, product_id) == ("ENDED", "cancelled")


def test_the_status_of_a_product_in_no_sale_says_nothing_of_one(shop, make_product):
    seen = status(shop, make_product())

    assert {seen[name] for name in ("flashSaleId", "status", "state", "startTime", "endTime")} == {None}
    assert seen["availableStock"] == 0


def test_a_user_sees_all_their_reservations_without_asking_for_pages(shop, customer, stocked):
    held = [stocked() for _ in range(11)]
    for product_id in held:
        assert reserve(shop, customer, product_id).status == 201
    path = f"/api/users/{customer.id}/reservations"

    answer = shop.call("GET", path, token=customer.token)
    asked = shop.call("GET", f"{path}?limit=4&page=3", token=customer.token)

    assert [hold["productId"] for hold in answer.body["data"]] == held
    meta = {"page": 1, "limit": 100, "total": 11, "serverTime": answer.body["meta"]["serverTime"]}
    assert answer.body["meta"] == meta
    assert [hold["productId"] for hold in asked.body["data"]] == held[8:]
    assert_refusal(shop.call("GET", f"{path}?limit=101", token=customer.token), 400)


def test_a_second_reserve_ends_with_the_first_and_one_that_is_sent_again_shows_what_became_of_it(
    shop, admin, customer, stocked
):
    product_id = stocked()
    key = {"Idempotency-Key": f"hold-once-{product_id}"}
    first = reserve(shop, customer, product_id, **key)
    sale_id = status(shop, product_id)["flashSaleId"]
    shop.call("PATCH", f"/api/flash-sales/{sale_id}", {"holdSeconds": 86_400}, admin.token)

    second = reserve(shop, customer, product_id)
    assert second.body["data"]["expiresAt"] == first.body["data"]["expiresAt"]

    given_back = shop.call("DELETE", f"/api/reserve/{customer.id}/{product_id}", token=customer.token)
    again = reserve(shop, customer, product_id, **key)
    assert given_back.body["data"]["quantity"] == 2
    assert (again.status, again.body["data"]["status"], again.body["data"]["secondsLeft"]) == (201, "cancelled", 0)
    assert again.body["data"]["purchaseId"] == first.body["data"]["purchaseId"]
