"""Reference 002, an assessment: each requirement is a test whose name says it in our words.

Its first section, the setup of the server: test_002_server_setup.py.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.reference.conftest import assert_refusal, eventually, moment


@pytest.fixture
def start_sale(shop, admin, make_product):
    """start_sale(totalStock=…, …) -> a sale that has started, as the API shows it; of a new product unless told"""

    def start(**fields):
        body = {
            "title": "Event",
            "productId": fields.pop("productId", None) or make_product(),
            "flashPrice": 9.99,
            "startTime": moment(seconds=-1),
        } | fields
        answer = shop.call("POST", "/api/flash-sales", body, admin.token)
        assert answer.status == 201, answer
        return answer.body["data"]

    return start


def buy(shop, buyer, sale_id, quantity=1, *, address=None, wait=20):
    headers = {"Prefer": f"wait={wait}"} | ({"X-Forwarded-For": address} if address else {})
    return shop.call("POST", f"/api/flash-sales/{sale_id}/purchases", {"quantity": quantity}, buyer.token, headers)


def outcome(shop, buyer, answer):
    """What became of a request that was accepted: its status in the end."""
    if answer.status != 202:
        return answer.body["data"]["status"] if answer.status == 201 else answer.body["code"]
    purchase_id = answer.body["data"]["purchaseId"]

    def settled():
        found = shop.call("GET", f"/api/purchases/{purchase_id}?wait=5", token=buyer.token).body["data"]
        return found if found["status"] != "queued" else None

    record = eventually(settled, f"{purchase_id} is settled")
    return record["reason"] or record["status"]


def seen(shop, sale_id):
    return shop.call("GET", f"/api/flash-sales/{sale_id}").body["data"]


# 2. Flash sale simulation


def test_an_event_starts_with_200_units_unless_told_otherwise(shop, start_sale):
    sale = start_sale()

    assert (sale["totalStock"], sale["remainingStock"]) == (200, 200)


def test_users_see_the_remaining_stock_in_real_time_and_every_purchase_lowers_it_exactly(
    shop, customer, sign_up, start_sale
):
    sale = start_sale()
    watcher = shop.socket("/ws", token=customer.token)
    watcher.send({"event": "joinFlashSale", "data": {"flashSaleId": sale["id"]}})
    left = watcher.hear_until("stockUpdate")[-1]["data"]["availableUnits"]

    for quantity in (1, 3, 2):
        assert buy(shop, sign_up(), sale["id"], quantity).status == 201
        told = watcher.hear_until("stockUpdate")[-1]["data"]["availableUnits"]
        assert told == left - quantity == seen(shop, sale["id"])["remainingStock"]
        left = told


def test_under_high_traffic_neither_one_unit_too_many_nor_one_too_few_is_sold(shop, admin, sign_up, start_sale):
    sale = start_sale(totalStock=60)
    buyers = [sign_up() for _ in range(16)]

    def ask(number):
        buyer = buyers[number % len(buyers)]
        return outcome(shop, buyer, buy(shop, buyer, sale["id"], wait=5))

    with ThreadPoolExecutor(16) as pool:
        outcomes = Counter(pool.map(ask, range(240)))

    assert outcomes == {"confirmed": 60, "SOLD_OUT": 180}
    after = seen(shop, sale["id"])
    assert (after["soldCount"], after["remainingStock"]) == (60, 0)
    audit = shop.call("GET", f"/api/flash-sales/{sale['id']}/audit", token=admin.token).body["data"]
    assert audit["agrees"], audit


def test_a_sale_begins_at_its_predefined_time_by_itself(shop, customer, start_sale):
    sale = start_sale(startTime=moment(seconds=5))
    assert_refusal(buy(shop, customer, sale["id"]), 409, "NOT_STARTED")

    eventually(lambda: buy(shop, customer, sale["id"]).status == 201, "the sale has begun")

    bought = shop.call("GET", "/api/users/me/purchases", token=customer.token).body["data"][0]
    assert bought["admittedAt"] >= sale["startTime"]


def test_a_sale_goes_on_until_all_units_are_sold_out(shop, customer, start_sale):
    sale = start_sale(totalStock=3)
    assert sale["endTime"] is None

    for _ in range(2):
        assert buy(shop, customer, sale["id"]).status == 201
        assert seen(shop, sale["id"])["status"] == "LIVE"
    assert buy(shop, customer, sale["id"]).status == 201

    after = seen(shop, sale["id"])
    assert (after["status"], after["endReason"]) == ("ENDED", "sold-out")


def test_a_sale_restarts_with_fresh_stock_and_the_past_stays_as_it_was(shop, admin, customer, start_sale):
    first = start_sale(totalStock=2)
    assert buy(shop, customer, first["id"], 2).status == 201

    restarted = shop.call("POST", f"/api/flash-sales/{first['id']}/restart", {}, admin.token)
    assert restarted.status == 201, restarted
    second = restarted.body["data"]
    assert second["id"] != first["id"]
    assert (second["productId"], second["totalStock"], second["remainingStock"]) == (first["productId"], 2, 2)
    assert buy(shop, customer, second["id"], 2).status == 201

    third = start_sale(productId=first["productId"], totalStock=5)
    assert third["remainingStock"] == 5
    assert [seen(shop, sale["id"])["soldCount"] for sale in (first, second, third)] == [2, 2, 0]


# 3. Leaderboard


def test_all_users_who_purchased_are_listed_in_order_of_purchase(shop, admin, sign_up, start_sale):
    sale = start_sale(totalStock=25)
    buyers = [sign_up() for _ in range(4)]
    bought_by = [buyers[number % 4].id for number in range(25)]
    for number in range(25):
        assert buy(shop, buyers[number % 4], sale["id"]).status == 201

    rows, cursor = [], ""
    while cursor is not None:
        path = f"/api/flash-sales/{sale['id']}/leaderboard?limit=10{cursor and f'&cursor={cursor}'}"
        page = shop.call("GET", path, token=admin.token).body
        rows += page["data"]
        cursor = page["meta"]["nextCursor"]

    assert [row["userId"] for row in rows] == bought_by
    assert all(before["purchasedAt"] <= after["purchasedAt"] for before, after in pairwise(rows))


def test_the_leaderboard_is_quick_while_the_database_is_busy(shop, customer, sign_up, start_sale):
    sale = start_sale(totalStock=10_000)
    buyers = [sign_up() for _ in range(4)]
    seconds = []

    with ThreadPoolExecutor(4) as pool:
        rush = [pool.submit(buy, shop, buyers[number % 4], sale["id"]) for number in range(160)]
        while not all(request.done() for request in rush):
            began = time.monotonic()
            answer = shop.call("GET", f"/api/flash-sales/{sale['id']}/leaderboard", token=customer.token)
            seconds.append(time.monotonic() - began)
            assert answer.status == 200

    # On a machine of its own it takes milliseconds; `make bench ONLY=leaderboard` measures it.
    assert sorted(seconds)[len(seconds) // 2] < 5


# 4. Error handling and robustness


def test_a_purchase_after_the_stock_ran_out_is_refused_with_a_meaning(shop, customer, start_sale):
    sale = start_sale(totalStock=1)
    buy(shop, customer, sale["id"])

    refused = assert_refusal(buy(shop, customer, sale["id"]), 409, "SOLD_OUT")

    assert refused["message"] == "Sold out"


@pytest.mark.parametrize(
    "trick",
    [
        {"startTime": moment(hours=-1)},
        {"admittedAt": moment(hours=1)},
        {"now": moment(hours=1)},
        {"force": True},
    ],
)
def test_nobody_bypasses_the_start_of_a_sale(shop, customer, start_sale, trick):
    sale = start_sale(startTime=moment(hours=1))
    path = f"/api/flash-sales/{sale['id']}/purchases"

    tricked = shop.call("POST", path, {"quantity": 1} | trick, customer.token)
    dated = shop.call("POST", path, {"quantity": 1}, customer.token, {"Date": "Fri, 01 Jan 2100 00:00:00 GMT"})

    assert_refusal(tricked, 400, "VALIDATION_ERROR")
    early = assert_refusal(dated, 409, "NOT_STARTED")
    assert early["data"]["startsAt"] == sale["startTime"]
    assert_refusal(shop.call("PATCH", f"/api/flash-sales/{sale['id']}", {"startTime": moment()}, customer.token), 403)
    assert seen(shop, sale["id"])["soldCount"] == 0


# 5. Security


def test_a_user_cannot_purchase_more_than_is_allowed_in_one_transaction(shop, customer, start_sale):
    sale = start_sale(maxPerPurchase=2)

    assert_refusal(buy(shop, customer, sale["id"], 3), 422, "LIMIT_EXCEEDED")
    assert buy(shop, customer, sale["id"], 2).status == 201


def test_whoever_asks_like_a_machine_is_slowed_down(shop, customer, start_sale):
    sale = start_sale(startTime=moment(hours=1))

    answers = (buy(shop, customer, sale["id"], address="203.0.113.7", wait=0) for _ in range(400))
    stopped = next((answer for answer in answers if answer.status in (403, 429)), None)

    assert stopped is not None, "400 requests in a row were let through"
    assert_refusal(stopped, stopped.status)
    if stopped.status == 429:
        assert int(stopped.headers["retry-after"]) >= 1


def test_an_address_that_is_known_for_fraud_is_shut_out_at_once(shop, admin, customer, start_sale):
    sale = start_sale()
    rule = {"network": "198.51.100.0/24", "action": "deny", "reason": "card testing"}
    assert shop.call("POST", "/api/ip-rules", rule, admin.token).status == 201

    refused = eventually(
        lambda: (answer := buy(shop, customer, sale["id"], address="198.51.100.9")).status == 403 and answer,
        "the rule is in force",
        5,
    )

    assert_refusal(refused, 403, "ADDRESS_DENIED")
    assert buy(shop, customer, sale["id"], address="203.0.113.9").status == 201


def test_a_purchase_cannot_name_its_own_price_or_another_buyer(shop, customer, start_sale):
    sale = start_sale()
    path = f"/api/flash-sales/{sale['id']}/purchases"

    for forged in ({"price": 0.01}, {"totalAmount": 1}, {"userId": "1"}, {"status": "confirmed"}):
        assert_refusal(shop.call("POST", path, {"quantity": 1} | forged, customer.token), 400)
    bought = buy(shop, customer, sale["id"], 2).body["data"]
    assert (bought["userId"], bought["unitPrice"], bought["totalAmount"]) == (customer.id, 9.99, 19.98)


def test_a_double_click_buys_once(shop, customer, start_sale):
    sale = start_sale()
    path = f"/api/flash-sales/{sale['id']}/purchases"
    headers = {"Idempotency-Key": "one-click", "Prefer": "wait=20"}

    with ThreadPoolExecutor(8) as pool:
        clicks = [pool.submit(shop.call, "POST", path, {"quantity": 1}, customer.token, headers) for _ in range(8)]
        bought = {click.result().body["data"]["purchaseId"] for click in clicks}

    assert len(bought) == 1
    eventually(lambda: seen(shop, sale["id"])["soldCount"] == 1, "one unit is sold")


def test_basic_authentication_guards_purchases(shop, start_sale):
    sale = start_sale()
    path = f"/api/flash-sales/{sale['id']}/purchases"

    assert_refusal(shop.call("POST", path, {"quantity": 1}), 401)
    assert_refusal(shop.call("POST", path, {"quantity": 1}, "forged"), 401)
