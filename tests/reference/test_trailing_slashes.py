"""A slash at the end: clients that were written for Express may write one, and it opens no other door."""

import pytest

from tests.reference.conftest import assert_refusal, created, eventually, moment

# One call that needs nothing, of every dialect and of our own.
OPEN = [
    "/api/products",
    "/api/flash-sales",
    "/api/flash-sales?status=LIVE&limit=5",
    "/api/flash-sales/live",
    "/api/flash-sales/{sale}",
    "/api/flash-sales/{sale}/audit",
    "/api/products/{product}",
    "/api/products/{product}/status",
    "/leaderboard",
]


def with_slash(path):
    path, question, query = path.partition("?")
    return f"{path}/{question}{query}"


@pytest.fixture
def sale(create):
    return created(create())


@pytest.mark.parametrize("path", OPEN)
def test_a_slash_at_the_end_changes_no_answer(shop, sale, path):
    path = path.format(sale=sale["id"], product=sale["productId"])

    there, here = shop.call("GET", path), shop.call("GET", with_slash(path))

    assert (there.status, here.status) == (200, 200)
    assert here.body.keys() == there.body.keys() if isinstance(there.body, dict) else isinstance(here.body, list)


def test_units_are_bought_held_and_looked_at_with_a_slash(shop, customer, sale):
    path = f"/api/flash-sales/{sale['id']}"
    waiting = {"Prefer": "wait=10"}

    bought = shop.call("POST", f"{path}/purchases/", {"quantity": 1}, customer.token, waiting)
    held = shop.call("POST", f"{path}/reservations/", {"quantity": 1}, customer.token, waiting)
    looked = shop.call("GET", f"/api/purchases/{bought.body['data']['purchaseId']}/", token=customer.token)

    assert (bought.status, held.status, looked.status) == (201, 201, 200)
    assert looked.body["data"]["status"] == "confirmed"
    # Whoever looked before the sale changed is not shown that look again.
    assert shop.call("GET", f"{path}/").body["data"]["remainingStock"] == 48
    shop.call("POST", f"{path}/purchases", {"quantity": 1}, customer.token, waiting)
    assert shop.call("GET", f"{path}/").body["data"]["remainingStock"] == 47


def test_every_dialect_buys_with_a_slash(shop, admin, customer, make_product):
    product = make_product()
    started = {"productId": product, "startTime": moment(seconds=-1)}
    body = {"productId": product, "quantity": 1}

    assert shop.call("POST", "/start-sale/", started, admin.token).status == 201
    sale_id = shop.call("GET", f"/api/products/{product}/status/").body["data"]["flashSaleId"]
    answers = [
        shop.call("POST", "/purchase/", body, customer.token),
        shop.call("POST", "/purchase-product/", {"flashSaleId": sale_id, "quantity": 1}, customer.token),
        shop.call("POST", "/api/purchase-product/", {"flashSaleId": sale_id, "quantity": 1}, customer.token),
        shop.call("POST", "/api/reserve/", body, customer.token),
    ]

    assert [answer.status for answer in answers] == [201] * 4
    assert shop.call("DELETE", f"/api/reserve/{customer.id}/{product}/", token=customer.token).status == 200
    board = shop.call("GET", f"/leaderboard/?flashSaleId={sale_id}", token=admin.token)
    assert [row["totalPurchases"] for row in board.body] == [3]


def test_who_may_not_may_not_with_a_slash_either(shop, customer, sale):
    path = f"/api/flash-sales/{sale['id']}"

    assert_refusal(shop.call("GET", "/api/users/", token=customer.token), 403, "FORBIDDEN")
    assert_refusal(shop.call("POST", "/start-sale/", {"productId": "1", "startTime": moment()}, customer.token), 403)
    assert_refusal(shop.call("GET", f"/api/leaderboard/?flashSaleId={sale['id']}", token=customer.token), 403)
    assert_refusal(shop.call("POST", f"{path}/purchases/", {"quantity": 1}), 401, "TOKEN_MISSING")
    assert_refusal(shop.call("DELETE", f"{path}/", token=customer.token), 403)


def test_tries_are_counted_together_with_and_without_a_slash(shop, customer):
    wrong = {"email": customer.email, "password": "wrong-password"}
    elsewhere = {"X-Forwarded-For": "192.0.2.77"}

    statuses = [
        shop.call("POST", f"/api/auth/login{end}", wrong, headers=elsewhere).status
        for end in ("", "/", "", "/", "", "/")
    ]

    assert statuses == [401] * 5 + [429]


def test_a_denied_address_is_denied_with_a_slash_even_where_machines_ask(shop, admin):
    rule = {"network": "192.0.2.78/32", "action": "deny", "reason": "bots"}
    assert shop.call("POST", "/api/ip-rules/", rule, admin.token).status == 201
    denied = {"X-Forwarded-For": "192.0.2.78"}
    eventually(lambda: shop.call("GET", "/api/products", headers=denied).status == 403, "the rule holds")

    for path in ("/api/products/", "/api/flash-sales/live/", "/healthz/", "/metrics/"):
        assert_refusal(shop.call("GET", path, headers=denied), 403, "ADDRESS_DENIED")


@pytest.mark.parametrize("path", ["/healthz/", "/readyz/", "/metrics/", "/admin/", "/login/"])
def test_what_is_no_call_of_the_api_has_one_address(shop, path):
    assert_refusal(shop.call("GET", path), 404)
