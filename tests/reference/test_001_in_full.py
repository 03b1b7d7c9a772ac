"""Reference 001 where its examples end: boards of many, limits of a sale, a room that is over, a purchase refunded."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.reference.conftest import assert_refusal, moment


@pytest.fixture
def sale(shop, admin):
    """sale(discount=…, …) -> the answer to making a sale of a new product at 100.00, as 001 makes it"""

    def make(**fields):
        product = {"name": "Smartphone", "description": "128GB", "price": 100}
        product_id = shop.call("POST", "/create-product", product, admin.token).body["id"]
        asked = {"productId": product_id, "startTime": moment(seconds=-1), "discount": 20} | fields
        return shop.call("POST", "/create-flash-sale", asked, admin.token)

    return make


def buy(shop, buyer, sale_id, quantity=1, **headers):
    body = {"flashSaleId": sale_id, "quantity": quantity}
    return shop.call("POST", "/purchase-product", body, buyer.token, headers)


def test_whoever_knows_of_no_pages_sees_every_buyer_of_a_sale(shop, admin, sign_up, sale):
    sale_id = sale().body["id"]
    with ThreadPoolExecutor(4) as pool:
        buyers = list(pool.map(lambda _: sign_up(), range(101)))
        assert {answer.status for answer in pool.map(lambda buyer: buy(shop, buyer, sale_id), buyers)} == {201}

    board = shop.call("GET", f"/leaderboard?flashSaleId={sale_id}", token=admin.token)

    assert {row["userId"] for row in board.body} == {buyer.id for buyer in buyers}
    assert "link" not in board.headers


@pytest.mark.parametrize("path", ["/leaderboard", "/api/leaderboard"])
def test_the_board_goes_on_where_its_link_says_and_ranks_go_on_with_it(shop, admin, sign_up, sale, path):
    sale_id = sale().body["id"]
    buyers = [sign_up() for _ in range(3)]
    for buyer, quantity in zip(buyers, (2, 2, 1), strict=True):
        buy(shop, buyer, sale_id, quantity)

    first = shop.call("GET", f"{path}?flashSaleId={sale_id}&limit=1", token=admin.token)
    pages, link = [first.body], first.headers.get("link")
    while link:
        address, _, relation = link.partition(">; ")
        assert (urlsplit(address[1:]).path, relation) == (path, 'rel="next"')
        answer = shop.call("GET", address[1:], token=admin.token)
        pages, link = [*pages, answer.body], answer.headers.get("link")

    assert [[row["rank"] for row in page] for page in pages] == [[1], [1], [3]]
    assert [page[0]["userId"] for page in pages] == [buyer.id for buyer in buyers]


@pytest.mark.parametrize("path", ["/leaderboard", "/api/leaderboard"])
def test_a_page_has_its_bounds(shop, admin, sale, path):
    board = f"{path}?flashSaleId={sale().body['id']}"

    for name, value in (("limit", "1001"), ("limit", "0"), ("cursor", "not-one-of-ours")):
        refused = assert_refusal(shop.call("GET", f"{board}&{name}={value}", token=admin.token), 400)
        assert [error["field"] for error in refused["errors"]] == [name]


def test_the_board_of_all_sales_has_no_pages(shop):
    refused = assert_refusal(shop.call("GET", "/leaderboard?limit=5"), 400)

    assert refused["errors"] == [{"field": "limit", "message": "needs flashSaleId beside it"}]


def test_a_sale_is_made_with_its_limits(shop, customer, sale):
    made = sale(maxPerPurchase=2, maxPerUser=3)

    assert made.status == 201
    assert_refusal(buy(shop, customer, made.body["id"], 3), 422, "LIMIT_EXCEEDED")
    assert buy(shop, customer, made.body["id"], 2).status == 201
    assert_refusal(buy(shop, customer, made.body["id"], 2), 422, "LIMIT_EXCEEDED")
    assert buy(shop, customer, made.body["id"], 1).status == 201
    assert [error["field"] for error in assert_refusal(sale(maxPerPurchase=0), 400)["errors"]] == ["maxPerPurchase"]


@pytest.mark.parametrize("discount", [0, -5, 100, "0.00"])
def test_a_discount_out_of_bounds_is_told_its_own_bounds(sale, discount):
    [error] = assert_refusal(sale(discount=discount), 400)["errors"]

    assert error == {"field": "discount", "message": "must be above 0 and below 100"}


def test_who_asks_again_after_a_refund_is_told_of_it(shop, admin, customer, sale):
    sale_id = sale().body["id"]
    key = {"Idempotency-Key": f"bought-once-{sale_id}"}
    bought = buy(shop, customer, sale_id, **key)
    refund = {"reason": "arrived broken"}
    assert shop.call("POST", f"/api/purchases/{bought.body['id']}/refund", refund, admin.token).status == 200

    again = buy(shop, customer, sale_id, **key)

    assert bought.body["status"] == "confirmed"
    assert again.body == bought.body | {"status": "refunded"}


def test_who_comes_back_after_the_end_is_told_of_it(shop, admin, customer, sale):
    for call, reason in (("end", "time-ended"), ("cancel", "cancelled")):
        sale_id = sale().body["id"]
        shop.call("POST", f"/api/flash-sales/{sale_id}/{call}", token=admin.token)
        socket = shop.socket(token=customer.token)

        socket.send({"event": "joinFlashSale", "data": {"flashSaleId": sale_id}})

        shown, ended = socket.hear_until("flashSaleEnded")
        assert (shown["event"], shown["data"]["availableUnits"]) == ("stockUpdate", 200)
        assert ended["data"] == {"flashSaleId": sale_id, "reason": reason, "seq": shown["data"]["seq"]}
