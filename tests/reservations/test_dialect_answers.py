"""The dialects in process: their answers held against their description, and the edges that the documents leave out."""

from decimal import Decimal

import pytest

from models.errors import InvalidError
from models.settings import settings
from models.settle import settle_turn
from tests.reservations.conftest import check_refusal
from web.dialects.api_001 import discounted


def test_who_is_not_answered_in_time_hears_where_to_ask(call, no_worker, make_sale, make_user):
    sale, user = make_sale(), make_user()
    by_product = {"productId": str(sale.product_id), "quantity": 1}

    first = call(user, "POST", "/purchase", by_product)
    second = call(user, "POST", "/api/purchase-product", {"flashSaleId": str(sale.id), "quantity": 2})

    assert (first.status_code, second.status_code) == (202, 202)
    assert set(first.json) == {"_id", "userId", "productId", "quantity", "createdAt"}
    assert set(second.json) == {"id", "userId", "flashSaleId", "quantity", "purchasedAt", "status"}
    settle_turn(sale.id)
    for queued in (first, second):
        assert call(user, "GET", queued.headers["Location"]).json["data"]["status"] == "confirmed"


def test_the_boards_are_as_described(call, worker, make_sale, make_user):
    sale, user, admin = make_sale(), make_user(), make_user(role="admin")
    call(user, "POST", "/purchase", {"productId": str(sale.product_id), "quantity": 3})

    bought = call(None, "GET", "/leaderboard").json
    ranks = call(admin, "GET", f"/api/leaderboard?flashSaleId={sale.id}").json

    assert [(row["userId"], row["quantity"]) for row in bought] == [(str(user.id), 3)]
    assert [(row["rank"], row["totalPurchases"]) for row in ranks] == [(1, 3)]
    assert call(admin, "GET", f"/leaderboard?flashSaleId={sale.id}").json == ranks
    check_refusal(call(user, "GET", f"/leaderboard?flashSaleId={sale.id}"), 403)
    check_refusal(call(None, "GET", f"/leaderboard?flashSaleId={sale.id}"), 401)


def test_an_empty_board_is_an_empty_list(call, client):
    assert call(None, "GET", "/leaderboard").json == []


@pytest.mark.parametrize(
    ("price", "percent", "asked"),
    [
        ("599.99", "20", "479.99"),
        ("99.99", "50", "50.00"),
        ("0.03", "50", "0.02"),
        ("10.00", "0.1", "9.99"),
        ("100.00", "99.99", "0.01"),
        ("9999999999.99", "33.33", "6666999999.99"),
    ],
)
def test_a_discount_is_taken_in_whole_cents(price, percent, asked):
    assert discounted(Decimal(price), Decimal(percent)) == Decimal(asked)


@pytest.mark.parametrize(("price", "percent"), [("0.01", "20"), ("0.01", "99"), ("1.00", "0.01"), (None, "20")])
def test_a_discount_that_leaves_no_lower_price_is_refused(price, percent):
    with pytest.raises(InvalidError) as refused:
        discounted(price and Decimal(price), Decimal(percent))

    assert [error.field for error in refused.value.fields] == ["discount"]


def test_one_account_tries_passwords_at_one_door_however_many_there_are(client, monkeypatch, make_user):
    monkeypatch.setenv("RATE_LIMIT_EXEMPT", "")
    settings.cache_clear()
    user = make_user()
    body = {"email": user.email, "password": "wrong-password"}

    statuses = [
        client.post(path, json=body).status_code
        for path in ("/api/auth/login", "/api/signin", "/signin", "/api/auth/login", "/api/signin", "/signin")
    ]

    assert statuses == [401] * 5 + [429]
