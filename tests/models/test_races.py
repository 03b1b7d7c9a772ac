"""Races on the stock, each with a control: the same race without the guard goes wrong."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from models import holds
from models.audit import audit_sale
from models.database import transaction
from models.errors import DomainError
from models.gate import admit
from models.purchase import Kind, Purchase
from models.sale_queries import get_sale
from models.sale_rules import SaleNotFoundError, lock_sale, touch
from models.sales import ActiveSaleExistsError, NewSale, archive_sale, create_sale
from models.settle import settle_turn

UNITS = 50
BUYERS = 200


def together(count, action):
    """Run the action so many times at once, and return what each made of it."""
    barrier = Barrier(count)

    def one(number):
        barrier.wait(60)
        try:
            return action(number)
        except DomainError as error:
            return error.code

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def confirmed(sale_id):
    with transaction() as session:
        return session.query(Purchase).filter_by(sale_id=sale_id, status="confirmed").count()


def test_eight_workers_that_settle_one_sale_at_once_sell_each_unit_once(make_sale, sale_row):
    sale = make_sale(total_stock=UNITS)
    for user_id in range(1, BUYERS + 1):
        admit(sale.id, user_id, Kind.PURCHASE, 1)

    reports = together(8, lambda _: settle_turn(sale.id))

    assert sum(report.settled for report in reports) == BUYERS
    assert confirmed(sale.id) == sale_row(sale.id).sold == UNITS
    assert audit_sale(sale.id).agrees


def test_control_the_same_race_with_an_unguarded_decrement_oversells(make_sale):
    """What everyone writes first: read the stock, then write what is left. This is what the lock is for."""
    sale = make_sale(total_stock=UNITS)
    sold = []

    def buy(_):
        with transaction() as session:
            left = session.scalar(text("SELECT total_stock - sold FROM flash_sales WHERE id = :id"), {"id": sale.id})
            if left < 1:
                return
            session.execute(
                text("UPDATE flash_sales SET sold = total_stock - :left + 1 WHERE id = :id"),
                {"left": left, "id": sale.id},
            )
            sold.append(1)

    for _ in range(BUYERS // 8):
        together(8, buy)

    assert len(sold) > UNITS, "the race did not happen: the guarded test above proves nothing"


def test_a_buyer_who_asks_from_many_windows_at_once_gets_no_more_than_their_limit(make_sale):
    sale = make_sale(total_stock=UNITS, max_per_user=2)

    together(16, lambda _: (admit(sale.id, 1, Kind.PURCHASE, 1), settle_turn(sale.id)))
    # As a worker would that is told there are more: who finds the row taken leaves the rest to whoever has it.
    settle_turn(sale.id)

    assert confirmed(sale.id) == 2


def test_one_key_sent_many_times_at_once_is_one_request(make_sale):
    sale = make_sale()

    admissions = together(16, lambda _: admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="double click"))

    assert {admission.ticket for admission in admissions} == {1}
    assert sum(not admission.replayed for admission in admissions) == 1


@pytest.mark.parametrize("round_number", range(5))
def test_checkout_cancel_and_expiry_of_one_hold_at_once_end_it_exactly_once(make_sale, sale_row, round_number):
    sale = make_sale(total_stock=1)
    admit(sale.id, 1, Kind.RESERVATION, 1)
    settle_turn(sale.id)
    with transaction() as session:
        session.execute(text("UPDATE purchases SET expires_at = clock_timestamp() + interval '5 ms'"))

    def end(number):
        if number % 3 == 0:
            return holds.checkout(sale.id, [1], 1)[0].status
        if number % 3 == 1:
            return holds.cancel(sale.id, [1], 1)[0].status
        return holds.expire_due_holds()

    together(9, end)
    holds.expire_due_holds()

    after = sale_row(sale.id)
    assert after.reserved in (0, 1)
    assert after.sold + after.reserved + after.remaining == 1
    assert audit_sale(sale.id).agrees


def test_control_a_hold_that_is_ended_without_the_lock_is_ended_twice(make_sale):
    """Check, then act, without the sale's lock: both the checkout and the cancel believe that they were first."""
    sale = make_sale(total_stock=1)
    admit(sale.id, 1, Kind.RESERVATION, 1)
    settle_turn(sale.id)
    ended = []
    both_have_looked = Barrier(2)

    def end(number):
        with transaction() as session:
            status = session.scalar(text("SELECT status FROM purchases WHERE ticket = 1"))
            both_have_looked.wait(5)
            if status == "reserved":
                new = ("confirmed", "cancelled")[number]
                session.execute(text("UPDATE purchases SET status = :new WHERE ticket = 1"), {"new": new})
                ended.append(new)

    together(2, end)

    assert sorted(ended) == ["cancelled", "confirmed"]


def test_two_sales_of_one_product_made_at_once_are_one_sale(make_product):
    product = make_product()

    made = together(8, lambda _: create_sale(_sale_of(product), actor_id=None))

    assert sum(isinstance(one, int) for one in made) == 1
    assert made.count(ActiveSaleExistsError.code) == 7


def test_of_those_who_delete_one_sale_at_once_the_first_does_and_the_others_find_none(make_sale, sale_row):
    sale = make_sale()

    deleted = together(8, lambda _: archive_sale(sale.id))

    assert deleted.count(None) == 1
    assert deleted.count(SaleNotFoundError.code) == 7
    assert sale_row(sale.id).revision == sale.revision + 1


def test_control_a_sale_that_is_looked_at_before_it_is_locked_is_deleted_twice(make_sale, sale_row):
    sale = make_sale()
    both_have_looked = Barrier(2)

    def delete(_):
        get_sale(sale.id)
        both_have_looked.wait(5)
        with transaction() as session:
            row = lock_sale(session, sale.id)
            row.archived_at = row.starts_at
            touch(row, row.starts_at)

    assert together(2, delete) == [None, None]
    assert sale_row(sale.id).revision == sale.revision + 2


def _sale_of(product):
    with transaction() as session:
        now = session.scalar(text("SELECT now()"))
    return NewSale(product.id, "A sale", now + timedelta(hours=1))
