"""A product's units, and a buyer's holds."""

import pytest

from models import holds, sales
from tests.reservations.conftest import check_refusal


def status(call, product_id):
    data = call(None, "GET", f"/api/products/{product_id}/status").json["data"]
    stock = tuple(data[name] for name in ("totalStock", "reservedStock", "availableStock", "soldStock"))
    return data["flashSaleId"], stock


def test_a_products_units_are_counted_in_the_sale_that_it_is_in(call, make_sale, make_user, hold):
    sale, user = make_sale(total_stock=10), make_user()
    hold(sale, user, 3)
    hold(sale, user, 2)
    holds.checkout(sale.id, [1], user.id)

    assert status(call, sale.product_id) == (str(sale.id), (10, 2, 5, 3))


def test_a_product_in_no_sale_has_no_units(call, make_product):
    assert status(call, make_product().id) == (None, (0, 0, 0, 0))


def test_the_sale_that_is_on_counts_before_the_last_one_and_a_paused_one_before_a_past_one(call, make_sale):
    first = make_sale()
    sales.end_sale(first.id)
    assert status(call, first.product_id)[0] == str(first.id), "the last, where none is on"

    second = make_sale(product_id=first.product_id, total_stock=7)
    sales.pause_sale(second.id)
    assert status(call, first.product_id) == (str(second.id), (7, 0, 7, 0))

    third = make_sale(product_id=first.product_id)
    assert status(call, first.product_id)[0] == str(third.id)


@pytest.mark.parametrize("product_id", ["999", "0", "67c63fc7c0d12fec440ba619", "9" * 30])
def test_what_is_no_product_is_not_found(call, client, product_id):
    refused = call(None, "GET", f"/api/products/{product_id}/status")

    assert check_refusal(refused, 404, "PRODUCT_NOT_FOUND")["error"] == "Product not found"


def test_a_buyers_running_holds_are_listed_by_page_the_first_to_run_out_first(call, make_sale, make_user, hold):
    user, long, short = make_user(), make_sale(hold_seconds=900), make_sale(hold_seconds=60)
    hold(long, user)
    hold(short, user, 2)
    hold(long, make_user())
    path = f"/api/users/{user.id}/reservations"

    listed = call(user, "GET", path).json

    assert [hold["productId"] for hold in listed["data"]] == [str(short.product_id), str(long.product_id)]
    assert 55 <= listed["data"][0]["secondsLeft"] <= 60
    assert listed["meta"].pop("serverTime").endswith("Z")
    assert listed["meta"] == {"page": 1, "limit": 100, "total": 2}
    second = call(user, "GET", f"{path}?page=2&limit=1").json
    assert [hold["productId"] for hold in second["data"]] == [str(long.product_id)]
    mine = call(user, "GET", "/api/users/me/reservations").json["data"]
    for now, before in zip(mine, listed["data"], strict=True):
        assert 0 <= before.pop("secondsLeft") - now.pop("secondsLeft") <= 5
    assert mine == listed["data"]


def test_what_has_ended_is_listed_no_more(call, make_sale, make_user, hold, run_out):
    user = make_user()
    bought, cancelled, expired = (make_sale() for _ in range(3))
    for sale in (bought, cancelled, expired):
        hold(sale, user)
    holds.checkout(bought.id, [1], user.id)
    holds.cancel(cancelled.id, [1], user.id)
    run_out(expired)

    assert call(user, "GET", "/api/users/me/reservations").json["data"] == []


def test_a_buyers_holds_are_theirs_and_the_admins_to_see(call, make_sale, make_user, hold):
    user, admin = make_user(), make_user(role="admin")
    hold(make_sale(), user)
    path = f"/api/users/{user.id}/reservations"

    assert len(call(admin, "GET", path).json["data"]) == 1
    check_refusal(call(make_user(), "GET", path), 403, "NOT_YOUR_ACCOUNT")
    check_refusal(call(None, "GET", path), 401, "TOKEN_MISSING")
    check_refusal(call(admin, "GET", "/api/users/999999/reservations"), 404, "USER_NOT_FOUND")
    check_refusal(call(user, "GET", "/api/users/user123/reservations"), 403)


@pytest.mark.parametrize("query", ["page=0", "limit=0", "limit=101", "page=x", "status=all"])
def test_a_page_that_is_none_is_refused(call, make_user, query):
    refused = check_refusal(call(make_user(), "GET", f"/api/users/me/reservations?{query}"), 400)

    assert [error["field"] for error in refused["errors"]] == [query.partition("=")[0]]
