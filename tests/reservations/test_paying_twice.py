"""Checking out with a key does a thing once, however often and in however many hands; without one, twice is refused."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier

import pytest

from models.audit import audit_sale
from models.database import transaction
from models.errors import DomainError
from models.receipts import Claim
from models.reservations import checkout_product
from tests.reservations.conftest import check_refusal, checkout_body


def test_without_a_key_a_second_checkout_says_that_it_is_closed(call, held):
    sale, user = held
    call(user, "POST", "/api/checkout", checkout_body(sale))

    refused = check_refusal(call(user, "POST", "/api/checkout", checkout_body(sale)), 409, "RESERVATION_CLOSED")

    assert refused["data"] == {"status": "confirmed"}


def test_with_a_key_a_second_checkout_is_the_first(call, held, store, sale_row):
    sale, user = held
    first = call(user, "POST", "/api/checkout", checkout_body(sale), Idempotency_Key="pay")

    again = call(user, "POST", "/api/checkout", checkout_body(sale), Idempotency_Key="pay")
    other = call(user, "POST", "/api/checkout", checkout_body(sale, total=1), Idempotency_Key="pay")

    assert (again.status_code, again.json) == (200, first.json)
    check_refusal(other, 422, "IDEMPOTENCY_KEY_REUSED")
    assert sale_row(sale.id).sold == 2


def test_a_key_whose_checkout_was_refused_can_be_used_again(call, held):
    sale, user = held
    check_refusal(call(user, "POST", "/api/checkout", checkout_body(sale, total=1), Idempotency_Key="pay"), 409)

    assert call(user, "POST", "/api/checkout", checkout_body(sale), Idempotency_Key="pay").status_code == 200


def test_one_key_in_two_hands_at_once_buys_once_and_answers_both(held, sale_row):
    sale, user = held
    barrier = Barrier(8)

    def pay(_):
        barrier.wait(60)
        return checkout_product(user.id, sale.product_id, 2, Decimal("99.98"), key="pay")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(pay, range(8)))

    assert all([record.ticket for record in records] == [1, 2] for records in answers)
    assert (sale_row(sale.id).sold, audit_sale(sale.id).agrees) == (2, True)


def test_control_without_a_key_all_but_one_of_them_are_refused(held):
    sale, user = held
    barrier = Barrier(8)

    def pay(_):
        barrier.wait(60)
        try:
            return len(checkout_product(user.id, sale.product_id, 2, Decimal("99.98")))
        except DomainError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(map(str, pool.map(pay, range(8))))

    assert answers == ["2"] + ["RESERVATION_CLOSED"] * 7


def test_one_key_for_two_products_at_once_is_good_for_one_of_them(make_sale, make_user, hold, sale_row):
    user, one, two = make_user(), make_sale(), make_sale()
    hold(one, user)
    hold(two, user)
    barrier = Barrier(2)

    def pay(sale):
        barrier.wait(60)
        try:
            return checkout_product(user.id, sale.product_id, 1, Decimal("49.99"), key="pay")[0].sale_id
        except DomainError as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(pay, (one, two)))

    assert "IDEMPOTENCY_KEY_REUSED" in answers
    assert sale_row(one.id).sold + sale_row(two.id).sold == 1


def test_the_receipt_is_written_with_the_checkout_or_not_at_all(held, sale_row):
    sale, user = held
    claim = Claim(user.id, "pay", "x")
    with transaction() as session:
        claim.keep(session, sale.id, [99])

    with pytest.raises(DomainError):
        checkout_product(user.id, sale.product_id, 2, Decimal("99.98"), key="pay")

    assert (sale_row(sale.id).sold, sale_row(sale.id).reserved) == (0, 2)


def test_a_key_that_is_none_is_refused(call, held):
    sale, user = held

    refused = check_refusal(call(user, "POST", "/api/checkout", checkout_body(sale), Idempotency_Key="two words"), 400)

    assert [error["field"] for error in refused["errors"]] == ["Idempotency-Key"]
