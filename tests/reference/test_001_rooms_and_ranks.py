"""Reference 001, step by step: accounts, a sale at a discount, the WebSocket at the root, purchases, ranks."""

import time

import pytest

from tests.reference.conftest import assert_refusal, eventually, moment

PREFIXES = pytest.mark.parametrize("prefix", ["/api", ""])


def account(shop, prefix="/api", **role):
    """Steps 1 and 2: sign up and sign in; what each answered, and the token."""
    email = f"someone-{time.time_ns()}@example.com"
    body = {"name": "Customer 1", "email": email, "password": "customer123"} | role
    signed_up = shop.call("POST", f"{prefix}/signup", body)
    signed_in = shop.call("POST", f"{prefix}/signin", {"email": email, "password": "customer123"})
    return signed_up, signed_in, signed_in.body.get("accessToken")


@pytest.fixture
def sale(shop, admin):
    """sale(startTime=…, …) -> the answer to making a sale of a new product at 20 % off"""

    def make(prefix="/api", path="/create-flash-sale", price=599.99, **fields):
        product = {"name": "Smartphone", "description": "Latest model with 128GB storage", "price": price}
        made = shop.call("POST", f"{prefix}/create-product", product, admin.token)
        assert made.status == 201
        assert made.body == product | {"id": made.body["id"]}
        asked = {
            "productId": made.body["id"],
            "startTime": moment(seconds=-1),
            "endTime": moment(hours=2),
            "discount": 20,
        } | fields
        return asked, shop.call("POST", f"{prefix}{path}", asked, admin.token)

    return make


def buy(shop, token, sale_id, quantity=1, prefix="/api"):
    return shop.call("POST", f"{prefix}/purchase-product", {"flashSaleId": sale_id, "quantity": quantity}, token)


@PREFIXES
def test_steps_1_and_2_accounts_are_made_and_signed_in_to(shop, prefix):
    for role, expected in (({"role": "admin"}, "admin"), ({}, "customer")):
        signed_up, signed_in, token = account(shop, prefix, **role)

        assert signed_up.status == 201
        made = signed_up.body
        assert set(made) == {"id", "name", "email", "role"}
        assert made["role"] == expected
        assert signed_in.status == 200
        assert signed_in.body == {
            "user": {"name": made["name"], "email": made["email"], "role": expected},
            "accessToken": token,
        }


def test_a_wrong_password_and_a_taken_address_are_refused(shop, customer):
    wrong = shop.call("POST", "/api/signin", {"email": customer.email, "password": "customer124"})
    taken = shop.call("POST", "/api/signup", {"name": "A", "email": customer.email, "password": "customer123"})

    assert_refusal(wrong, 401, "BAD_CREDENTIALS")
    assert_refusal(taken, 409, "EMAIL_TAKEN")


@PREFIXES
@pytest.mark.parametrize("path", ["/create-flash-sale", "/flash-sale"])
def test_steps_3_and_4_an_admin_makes_a_product_and_a_pending_sale(sale, prefix, path):
    asked, made = sale(prefix, path, startTime=moment(hours=1), endTime=moment(hours=3))

    assert made.status == 201
    assert made.body == asked | {"id": made.body["id"], "status": "pending"}


def test_the_discount_becomes_a_price_in_cents_and_the_stock_is_200(shop, sale):
    _, made = sale(price=599.99, discount=20)

    seen = shop.call("GET", f"/api/flash-sales/{made.body['id']}").body["data"]

    assert made.body["status"] == "active"
    assert (seen["originalPrice"], seen["flashPrice"], seen["totalStock"]) == (599.99, 479.99, 200)


@pytest.mark.parametrize("discount", [0, -5, 100, 120, "much", None, 12.345])
def test_a_discount_that_is_none_is_refused(sale, discount):
    _, refused = sale(discount=discount)

    assert [error["field"] for error in assert_refusal(refused, 400)["errors"]] == ["discount"]


def test_a_sale_that_ends_before_it_starts_is_refused(sale):
    _, refused = sale(startTime=moment(hours=2), endTime=moment(hours=1))

    assert [error["field"] for error in assert_refusal(refused, 400)["errors"]] == ["endTime"]


def test_only_admins_make_products_and_sales(shop, customer):
    product = {"name": "Smartphone", "description": "", "price": 1}
    sale = {"productId": "1", "startTime": moment(), "endTime": moment(hours=1), "discount": 20}

    for path, body in (("/create-product", product), ("/create-flash-sale", sale)):
        assert_refusal(shop.call("POST", f"/api{path}", body), 401)
        assert_refusal(shop.call("POST", f"/api{path}", body, customer.token), 403)


def test_steps_5_to_8_and_10_whoever_is_in_the_room_hears_of_every_unit(shop, customer, sale):
    _, made = sale(stock=2)
    room = {"flashSaleId": made.body["id"]}
    socket = shop.socket(token=customer.token)
    socket.send({"event": "joinFlashSale", "data": room})
    assert socket.hear_until("stockUpdate")[-1]["data"]["availableUnits"] == 2

    bought = buy(shop, customer.token, made.body["id"])

    assert bought.status == 201
    assert bought.body == {
        "id": bought.body["id"],
        "userId": customer.id,
        "flashSaleId": made.body["id"],
        "quantity": 1,
        "purchasedAt": bought.body["purchasedAt"],
        # More than the document shows: what has become of it.
        "status": "confirmed",
    }
    update = socket.hear_until("stockUpdate")[-1]["data"]
    assert (update["flashSaleId"], update["availableUnits"]) == (made.body["id"], 1)

    buy(shop, customer.token, made.body["id"])
    ended = socket.hear_until("flashSaleEnded")[-1]["data"]
    assert (ended["flashSaleId"], ended["reason"]) == (made.body["id"], "sold-out")
    assert_refusal(buy(shop, customer.token, made.body["id"]), 409, "SOLD_OUT")


def test_a_room_hears_the_start_and_the_end_by_time(shop, customer, sale):
    _, made = sale(startTime=moment(seconds=5), endTime=moment(seconds=8))
    socket = shop.socket(token=customer.token)
    socket.send({"event": "joinFlashSale", "data": {"flashSaleId": made.body["id"]}})

    started = socket.hear_until("flashSaleStarted", seconds=30)[-1]["data"]
    ended = socket.hear_until("flashSaleEnded", seconds=30)[-1]["data"]

    assert started["flashSaleId"] == made.body["id"]
    assert (ended["flashSaleId"], ended["reason"]) == (made.body["id"], "time-ended")
    assert_refusal(buy(shop, customer.token, made.body["id"]), 409, "ENDED")


def test_who_leaves_the_room_hears_no_more_of_it(shop, customer, sale):
    _, made = sale()
    room = {"flashSaleId": made.body["id"]}
    socket = shop.socket(token=customer.token)
    socket.send({"event": "joinFlashSale", "data": room})
    socket.hear_until("stockUpdate")

    socket.send({"event": "leaveFlashSale", "data": room})
    # What the server answers next, it answers after it has heard the leave.
    socket.send({"event": "ping", "data": {}})
    socket.hear_until("error")
    buy(shop, customer.token, made.body["id"])

    # Their own purchase is told to its buyer wherever they are; of the sale itself they hear nothing.
    assert "stockUpdate" not in socket.hears_within(1)


@pytest.mark.parametrize("token", [None, "not-a-token"])
def test_who_is_not_signed_in_is_told_so(shop, sale, token):
    _, made = sale()
    socket = shop.socket(token=token)
    socket.send({"event": "joinFlashSale", "data": {"flashSaleId": made.body["id"]}})

    error = socket.hear_until("error")[-1]

    assert error == {"event": "error", "data": {"message": "Unauthorized access", "code": "UNAUTHORIZED"}}


@pytest.mark.parametrize("sale_id", ["67c63fc7c0d12fec440ba620", "999999999"])
def test_a_room_of_no_sale_and_a_purchase_of_no_sale_are_not_found(shop, customer, sale_id):
    socket = shop.socket(token=customer.token)
    socket.send({"event": "joinFlashSale", "data": {"flashSaleId": sale_id}})

    error = socket.hear_until("error")[-1]["data"]

    assert (error["code"], error["message"]) == ("SALE_NOT_FOUND", "Flash sale not found")
    assert_refusal(buy(shop, customer.token, sale_id), 404, "SALE_NOT_FOUND")


def test_step_9_equals_share_a_rank(shop, admin, sign_up, sale):
    _, made = sale()
    sale_id = made.body["id"]
    first, second, third = (sign_up() for _ in range(3))
    for buyer, quantity in ((third, 1), (first, 29), (second, 20), (second, 9)):
        assert buy(shop, buyer.token, sale_id, quantity).status == 201

    board = shop.call("GET", f"/api/leaderboard?flashSaleId={sale_id}", token=admin.token)

    assert board.status == 200

    def row(rank, buyer, total):
        return {
            "rank": rank,
            "name": buyer.name,
            "email": buyer.email,
            "totalPurchases": total,
            "userId": buyer.id,
        }

    assert board.body == [row(1, first, 29), row(1, second, 29), row(3, third, 1)]
    assert shop.call("GET", f"/leaderboard?flashSaleId={sale_id}", token=admin.token).body == board.body


@PREFIXES
def test_only_admins_see_the_ranks(shop, customer, sale, prefix):
    _, made = sale()
    path = f"{prefix}/leaderboard?flashSaleId={made.body['id']}"

    assert_refusal(shop.call("GET", path), 401)
    assert_refusal(shop.call("GET", path, token=customer.token), 403)


def test_the_ranks_of_no_sale_are_not_found_and_a_sale_must_be_named(shop, admin):
    missing = shop.call("GET", "/api/leaderboard", token=admin.token)

    assert_refusal(shop.call("GET", "/api/leaderboard?flashSaleId=67c63fc7c0d12fec", token=admin.token), 404)
    assert [error["field"] for error in assert_refusal(missing, 400)["errors"]] == ["flashSaleId"]


def test_the_units_of_one_transaction_can_be_limited(shop, admin, customer, sale):
    _, made = sale()
    shop.call("PATCH", f"/api/flash-sales/{made.body['id']}", {"maxPerPurchase": 2}, admin.token)

    refused = eventually(lambda: _refused(buy(shop, customer.token, made.body["id"], 3)), "the limit holds")

    assert_refusal(refused, 422, "LIMIT_EXCEEDED")
    assert buy(shop, customer.token, made.body["id"], 2).status == 201


def _refused(answer):
    return answer if answer.status >= 400 else None


@PREFIXES
@pytest.mark.parametrize("quantity", [0, -1, 1.5, "2", None])
def test_a_quantity_that_is_none_is_refused(shop, customer, prefix, quantity):
    refused = buy(shop, customer.token, "1", quantity, prefix)

    assert [error["field"] for error in assert_refusal(refused, 400)["errors"]] == ["quantity"]
