"""Reference 000, request by request: start a sale, purchase, leaderboard; bare objects at the root."""

import pytest

from tests.reference.conftest import assert_refusal, moment


def test_an_admin_starts_a_sale_of_200_units(shop, admin, make_product):
    product_id = make_product()

    started = shop.call(
        "POST", "/start-sale", {"productId": product_id, "startTime": "2025-03-03T12:00:00Z"}, admin.token
    )

    assert started.status == 201
    assert started.body == {
        "_id": started.body["_id"],
        "productId": product_id,
        "stock": 200,
        "startTime": "2025-03-03T12:00:00Z",
        "isActive": True,
    }
    assert isinstance(started.body["_id"], str)


@pytest.fixture
def started(shop, admin, make_product):
    """The id of a product whose sale has started."""
    product_id = make_product()
    body = {"productId": product_id, "startTime": moment(seconds=-1)}
    assert shop.call("POST", "/start-sale", body, admin.token).status == 201
    return product_id


def test_a_customer_purchases_the_product_and_stands_on_the_leaderboard(shop, customer, sign_up, started):
    asked = {"userId": customer.id, "productId": started, "quantity": 1}

    bought = shop.call("POST", "/purchase", asked, customer.token)

    assert bought.status == 201
    assert bought.body == asked | {"_id": bought.body["_id"], "createdAt": bought.body["createdAt"]}
    assert len(bought.body["createdAt"]) == len("2025-03-03T12:05:00Z")

    second = sign_up()
    shop.call("POST", "/purchase", asked | {"userId": second.id, "quantity": 2}, second.token)
    board = shop.call("GET", "/leaderboard")

    assert board.status == 200
    mine = [row for row in board.body if row["productId"] == started]
    assert mine == [
        {"userId": customer.id, "productId": started, "quantity": 1, "createdAt": bought.body["createdAt"]},
        {"userId": second.id, "productId": started, "quantity": 2, "createdAt": mine[1]["createdAt"]},
    ]


def test_ids_may_be_numbers_and_the_buyer_need_not_be_named(shop, customer, started):
    bought = shop.call("POST", "/purchase", {"productId": int(started), "quantity": 1}, customer.token)

    assert (bought.status, bought.body["userId"]) == (201, customer.id)


def test_nobody_purchases_before_the_sale_starts(shop, admin, customer, make_product):
    product_id = make_product()
    shop.call("POST", "/start-sale", {"productId": product_id, "startTime": moment(hours=1)}, admin.token)

    early = shop.call("POST", "/purchase", {"productId": product_id, "quantity": 1}, customer.token)

    assert_refusal(early, 409, "NOT_STARTED")
    assert early.body["data"]["startsAt"].endswith("Z")


def test_purchases_are_refused_once_the_stock_is_gone(shop, customer, started):
    all_of_them = shop.call("POST", "/purchase", {"productId": started, "quantity": 200}, customer.token)
    one_more = shop.call("POST", "/purchase", {"productId": started, "quantity": 1}, customer.token)

    assert all_of_them.status == 201
    assert_refusal(one_more, 409, "SOLD_OUT")


def test_a_purchase_in_somebody_elses_name_is_forbidden(shop, customer, sign_up, started):
    for somebody_else in (sign_up().id, "user123"):
        body = {"userId": somebody_else, "productId": started, "quantity": 1}
        assert_refusal(shop.call("POST", "/purchase", body, customer.token), 403, "NOT_YOUR_ACCOUNT")


def test_the_same_key_buys_once_and_another_body_is_refused(shop, customer, started):
    def buy(quantity):
        body = {"productId": started, "quantity": quantity}
        return shop.call("POST", "/purchase", body, customer.token, {"Idempotency-Key": "double-click"})

    first, again, other = buy(1), buy(1), buy(2)

    assert (first.status, again.status) == (201, 201)
    assert first.body == again.body
    assert_refusal(other, 422, "IDEMPOTENCY_KEY_REUSED")


def test_a_second_sale_of_a_product_is_refused_while_the_first_is_on(shop, admin, started):
    again = shop.call("POST", "/start-sale", {"productId": started, "startTime": moment()}, admin.token)

    assert assert_refusal(again, 400)["message"] == "An active flash sale already exists for this product"


def test_who_may_start_a_sale_and_who_may_purchase(shop, customer, started):
    sale = {"productId": started, "startTime": moment()}

    assert_refusal(shop.call("POST", "/start-sale", sale), 401)
    assert_refusal(shop.call("POST", "/start-sale", sale, customer.token), 403)
    assert_refusal(shop.call("POST", "/purchase", {"productId": started, "quantity": 1}), 401)


@pytest.mark.parametrize("product_id", ["123456789", "67c63fc7c0d12fec440ba619"])
def test_a_product_that_is_not_there_is_not_found(shop, admin, product_id):
    started = shop.call("POST", "/start-sale", {"productId": product_id, "startTime": moment()}, admin.token)
    bought = shop.call("POST", "/purchase", {"productId": product_id, "quantity": 1}, admin.token)

    assert assert_refusal(started, 404)["message"] == "Product not found"
    assert assert_refusal(bought, 404)["message"] == "Product not found"


def test_a_product_that_was_never_in_a_sale_cannot_be_purchased(shop, customer, make_product):
    bought = shop.call("POST", "/purchase", {"productId": make_product(), "quantity": 1}, customer.token)

    assert_refusal(bought, 404, "SALE_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "mistake", "field"),
    [
        ("/start-sale", {"startTime": "tomorrow"}, "startTime"),
        ("/start-sale", {"startTime": "2025-03-03T12:00:00"}, "startTime"),
        ("/start-sale", {"startTime": None}, "startTime"),
        ("/start-sale", {"productId": ""}, "productId"),
        ("/start-sale", {"productId": {"$gt": ""}}, "productId"),
        ("/start-sale", {"stock": 5}, "stock"),
        ("/purchase", {"quantity": 0}, "quantity"),
        ("/purchase", {"quantity": -1}, "quantity"),
        ("/purchase", {"quantity": 1.5}, "quantity"),
        ("/purchase", {"quantity": "1"}, "quantity"),
        ("/purchase", {"quantity": 10**9}, "quantity"),
        ("/purchase", {"userId": True}, "userId"),
        ("/purchase", {"price": 1}, "price"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(shop, admin, path, mistake, field):
    sound = {"/start-sale": {"productId": "1", "startTime": moment()}, "/purchase": {"productId": "1", "quantity": 1}}

    refused = shop.call("POST", path, sound[path] | mistake, admin.token)

    body = assert_refusal(refused, 400, "VALIDATION_ERROR")
    assert [error["field"] for error in body["errors"]] == [field]
