"""Checking out, giving back, refunding: the price is the server's, and late is late."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from models import holds, sales
from models.audit import audit_sale
from models.database import transaction
from models.reservations import checkout_product
from tests.reservations.conftest import PRICE, check_refusal, checkout_body


def test_all_holds_of_the_product_are_bought_together(call, held, sale_row):
    sale, user = held

    answer = call(user, "POST", "/api/checkout", checkout_body(sale))

    assert answer.status_code == 200
    bought = answer.json["data"]
    assert (bought["quantity"], bought["totalAmount"], bought["currency"]) == (2, 99.98, "USD")
    assert [each["purchaseId"] for each in bought["purchases"]] == [f"{sale.id}-1", f"{sale.id}-2"]
    assert {each["status"] for each in bought["purchases"]} == {"confirmed"}
    after = sale_row(sale.id)
    assert (after.sold, after.reserved) == (2, 0)
    assert audit_sale(sale.id).agrees


@pytest.mark.parametrize("total", [99.97, 99.99, 49.99, 0, 1e9, "99.97"])
def test_another_total_than_the_servers_buys_nothing(call, held, total, sale_row):
    sale, user = held

    refused = call(user, "POST", "/api/checkout", checkout_body(sale, total=total))

    assert check_refusal(refused, 409, "TOTAL_MISMATCH")["data"] == {"expectedTotal": 99.98, "currency": "USD"}
    assert (sale_row(sale.id).sold, sale_row(sale.id).reserved) == (0, 2)


def test_a_total_may_be_written_as_text(call, held):
    sale, user = held

    assert call(user, "POST", "/api/checkout", checkout_body(sale, total="99.98")).status_code == 200


@pytest.mark.parametrize("quantity", [1, 3])
def test_another_quantity_than_is_held_buys_nothing_and_says_what_is_held(call, held, quantity, sale_row):
    sale, user = held

    refused = call(user, "POST", "/api/checkout", checkout_body(sale, quantity, quantity * PRICE))

    assert check_refusal(refused, 409, "QUANTITY_MISMATCH")["data"] == {"heldQuantity": 2}
    assert sale_row(sale.id).reserved == 2


def test_an_unpriced_product_records_the_total_as_given(call, make_sale, make_user, hold):
    sale, user = make_sale(original_price=None, flash_price=None), make_user()
    hold(sale, user, 2)

    bought = call(user, "POST", "/api/checkout", checkout_body(sale, 2, 1999.98)).json["data"]

    assert bought["totalAmount"] == 1999.98
    assert bought["purchases"][0]["unitPrice"] is None


@pytest.mark.parametrize("milliseconds", [1, 5_000])
@pytest.mark.parametrize("noticed", [False, True], ids=["nobody has noticed", "beat has come by"])
def test_a_millisecond_too_late_is_too_late(call, held, run_out, milliseconds, noticed):
    sale, user = held
    run_out(sale, milliseconds)
    if noticed:
        holds.expire_due_holds()

    check_refusal(call(user, "POST", "/api/checkout", checkout_body(sale)), 410, "RESERVATION_EXPIRED")
    check_refusal(call(user, "POST", f"/api/purchases/{sale.id}-1/checkout"), 410, "RESERVATION_EXPIRED")
    check_refusal(call(user, "DELETE", f"/api/purchases/{sale.id}-1"), 410, "RESERVATION_EXPIRED")
    check_refusal(call(user, "DELETE", f"/api/reserve/{user.id}/{sale.product_id}"), 410, "RESERVATION_EXPIRED")


def test_holds_in_two_sales_of_a_product_are_checked_out_one_sale_at_a_time(call, held, make_sale, hold):
    first, user = held
    sales.end_sale(first.id)
    second = make_sale(product_id=first.product_id, flash_price=Decimal("9.99"), hold_seconds=900)
    hold(second, user)

    bought = [
        call(user, "POST", "/api/checkout", checkout_body(first)).json["data"],
        call(user, "POST", "/api/checkout", checkout_body(first, 1, 9.99)).json["data"],
    ]

    assert [each["saleId"] for each in bought] == [str(first.id), str(second.id)]


def test_cancelling_a_product_gives_back_what_is_held_in_all_its_sales(call, held, make_sale, hold, sale_row):
    first, user = held
    sales.end_sale(first.id)
    second = make_sale(product_id=first.product_id)
    hold(second, user, 3)

    cancelled = call(user, "DELETE", f"/api/reserve/{user.id}/{first.product_id}").json["data"]

    assert cancelled["quantity"] == 5
    assert {each["status"] for each in cancelled["reservations"]} == {"cancelled"}
    assert [sale_row(sale.id).reserved for sale in (first, second)] == [0, 0]


def test_a_hold_is_checked_out_by_its_own_id(call, held):
    sale, user = held
    path = f"/api/purchases/{sale.id}-1/checkout"

    check_refusal(call(user, "POST", path, {"totalAmount": 1}), 409, "TOTAL_MISMATCH")
    bought = call(user, "POST", path, {"totalAmount": PRICE}, Idempotency_Key="k")
    again = call(user, "POST", path, {"totalAmount": PRICE}, Idempotency_Key="k")
    without = call(user, "POST", f"/api/purchases/{sale.id}-2/checkout")

    assert (bought.status_code, bought.json["data"]["status"]) == (200, "confirmed")
    assert again.json == bought.json
    assert without.status_code == 200, "the total may be left out"
    check_refusal(call(user, "POST", path), 409, "RESERVATION_CLOSED")


def test_a_hold_is_given_back_by_its_own_id_and_only_once(call, held, sale_row):
    sale, user = held
    path = f"/api/purchases/{sale.id}-1"

    assert call(user, "DELETE", path).json["data"]["status"] == "cancelled"
    check_refusal(call(user, "DELETE", path), 409, "RESERVATION_CLOSED")
    assert sale_row(sale.id).reserved == 1


def test_a_confirmed_purchase_is_refunded_by_an_admin_with_a_reason_and_only_once(call, held, make_user, sale_row):
    sale, user = held
    admin = make_user(role="admin")
    call(user, "POST", "/api/checkout", checkout_body(sale))
    path = f"/api/purchases/{sale.id}-1/refund"

    refunded = call(admin, "POST", path, {"reason": "came broken"}, Idempotency_Key="r")
    again = call(admin, "POST", path, {"reason": "came broken"}, Idempotency_Key="r")

    assert (refunded.status_code, refunded.json["data"]["status"]) == (200, "refunded")
    assert again.json == refunded.json
    check_refusal(call(admin, "POST", path, {"reason": "came broken"}), 409, "NOT_CONFIRMED")
    check_refusal(call(admin, "POST", path, {"reason": "other"}, Idempotency_Key="r"), 422, "IDEMPOTENCY_KEY_REUSED")
    assert (sale_row(sale.id).sold, audit_sale(sale.id).agrees) == (1, True)


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 201}, {"reason": None}, {"reason": "a\nb"}])
def test_a_refund_needs_a_reason_and_an_admin(call, held, make_user, body):
    sale, user = held
    path = f"/api/purchases/{sale.id}-1/refund"

    refused = check_refusal(call(make_user(role="admin"), "POST", path, body), 400)

    assert [error["field"] for error in refused["errors"]] == ["reason"]
    check_refusal(call(user, "POST", path, {"reason": "mine"}), 403)


@pytest.mark.parametrize("purchase_id", ["1-99", "99-1", "1", "x-y", "1-1-1", "9" * 30 + "-1", "-"])
def test_what_is_no_purchase_of_mine_is_not_found(call, held, make_user, purchase_id):
    _, user = held
    admin = make_user(role="admin")

    check_refusal(call(user, "POST", f"/api/purchases/{purchase_id}/checkout"), 404)
    check_refusal(call(user, "DELETE", f"/api/purchases/{purchase_id}"), 404)
    check_refusal(call(admin, "POST", f"/api/purchases/{purchase_id}/refund", {"reason": "x"}), 404)


def test_somebody_elses_hold_is_none_of_mine(call, held, make_user, sale_row):
    sale, owner = held
    stranger = make_user()

    check_refusal(call(stranger, "POST", f"/api/purchases/{sale.id}-1/checkout"), 404, "PURCHASE_NOT_FOUND")
    check_refusal(call(stranger, "DELETE", f"/api/purchases/{sale.id}-1"), 404, "PURCHASE_NOT_FOUND")
    check_refusal(call(stranger, "DELETE", f"/api/reserve/{owner.id}/{sale.product_id}"), 403, "NOT_YOUR_ACCOUNT")
    check_refusal(call(stranger, "POST", "/api/checkout", checkout_body(sale, user_id=owner.id)), 403)
    check_refusal(call(stranger, "POST", "/api/checkout", checkout_body(sale)), 404, "RESERVATION_NOT_FOUND")
    assert sale_row(sale.id).reserved == 2


def test_a_request_that_still_waits_cannot_be_ended(call, no_worker, make_sale, make_user):
    sale, user = make_sale(), make_user()
    call(user, "POST", f"/api/flash-sales/{sale.id}/reservations", {"quantity": 1})

    check_refusal(call(user, "POST", f"/api/purchases/{sale.id}-1/checkout"), 409, "NOT_SETTLED")
    check_refusal(call(user, "DELETE", f"/api/purchases/{sale.id}-1"), 409, "NOT_SETTLED")


@pytest.mark.parametrize(
    ("mistake", "field"),
    [
        ({"total_amount": None}, "total_amount"),
        ({"total_amount": -1}, "total_amount"),
        ({"total_amount": 1.999}, "total_amount"),
        ({"total_amount": "much"}, "total_amount"),
        ({"total_amount": 1e16}, "total_amount"),
        ({"total_amount": True}, "total_amount"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": "2"}, "quantity"),
        ({"product_id": ""}, "product_id"),
        ({"user_id": []}, "user_id"),
        ({"price": 1}, "price"),
    ],
)
def test_a_mistake_is_named_as_the_client_wrote_it_and_nothing_is_bought(call, held, mistake, field):
    sale, user = held

    refused = check_refusal(call(user, "POST", "/api/checkout", checkout_body(sale) | mistake), 400)

    assert [error["field"] for error in refused["errors"]] == [field]


def test_the_database_says_what_time_it_is_not_this_process(held, monkeypatch):
    sale, user = held
    monkeypatch.setattr("models.clock.now", lambda: 1 / 0)
    with transaction() as session:
        left = session.scalar(text("SELECT min(expires_at) - clock_timestamp() FROM purchases"))
    assert left > timedelta(minutes=9)

    assert len(checkout_product(user.id, sale.product_id, 2, Decimal("99.98"))) == 2
