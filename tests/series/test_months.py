"""What is counted by the month: the product's allotment and the buyers' limit. Their reset: test_resets.py."""

from collections import Counter
from datetime import date, timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from models import buyer_months, holds, outcomes, series_rules
from models.database import transaction
from models.decide import decide
from models.gate import admit
from models.product import Product
from models.purchase import Kind, Purchase
from models.restarts import restart_sale
from models.sale import FlashSale
from models.series import BuyerMonth, ProductMonth
from models.series_plan import plan_series
from models.series_rules import clock
from models.settle import settle_turn
from tests.series.helpers import NOON, buy, local, runs_of, sales_of, together, utc

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def months_of_buyers(series_id):
    with transaction() as session:
        rows = session.query(BuyerMonth).filter_by(series_id=series_id).all()
        return {(row.month, row.user_id): row.units for row in rows if row.units}


def recounted(series_id):
    """The same from the purchases themselves."""
    counted = Counter()
    with transaction() as session:
        rows = session.query(Purchase, FlashSale.month).join(FlashSale, FlashSale.id == Purchase.sale_id)
        for row, month in rows.filter(FlashSale.series_id == series_id):
            if row.status in ("confirmed", "reserved"):
                counted[(month, row.user_id)] += row.quantity
    return dict(counted)


def test_runs_draw_from_the_months_allotment_until_nothing_is_left(make_series, make_product):
    product = make_product(monthly_allotment=450)
    series_id = make_series(product_id=product.id, duration_seconds=3600)

    now = NOON
    while now < utc(2027, 2, 4):
        plan_series(now)
        now += DAY

    assert [(sale.starts_at.month, sale.total_stock) for sale in sales_of(series_id)] == [
        (1, 200),
        (1, 200),
        (1, 50),
        (2, 200),
        (2, 200),
        (2, 50),
    ]
    assert runs_of(series_id)["2027-01-13 18:00"] == ("skipped", "ALLOTMENT_EXHAUSTED")
    with transaction() as session:
        assert session.get(ProductMonth, (product.id, date(2027, 1, 1))).drawn == 450


def test_a_run_belongs_to_the_month_that_it_starts_in_on_its_own_zones_clock(make_series, make_product):
    product = make_product(monthly_allotment=200)
    # 23:00 UTC on January 31st is February in Berlin.
    make_series(
        product_id=product.id, zone="Europe/Berlin", starts_local=local(2027, 2, 1, 0, 0), rule="FREQ=DAILY;COUNT=1"
    )

    with transaction() as session:
        months = session.query(ProductMonth.month, ProductMonth.drawn).all()
    assert [tuple(row) for row in months] == [(date(2027, 2, 1), 200)]


def test_a_run_that_is_taken_back_gives_its_units_back_to_the_month(make_series, make_product):
    product = make_product(monthly_allotment=300)
    series_id = make_series(product_id=product.id, stock_per_run=250)

    series_rules.patch_series(series_id, {"stock_per_run": 300}, now=NOON)
    assert sales_of(series_id)[0].total_stock == 300
    series_rules.pause_series(series_id, now=NOON)

    with transaction() as session:
        assert session.get(ProductMonth, (product.id, date(2027, 1, 1))).drawn == 0


def test_two_series_that_draw_at_once_never_draw_more_than_there_is(make_series, make_product):
    product = make_product(monthly_allotment=500)
    ids = [
        make_series(product_id=product.id, starts_local=local(2027, 1, 1, hour), duration_seconds=60)
        for hour in range(13, 19)
    ]

    together(6, lambda _: plan_series(NOON + DAY * 3))

    stocks = [sale.total_stock for series_id in ids for sale in sales_of(series_id)]
    assert sum(stocks) == 500
    with transaction() as session:
        assert session.get(ProductMonth, (product.id, date(2027, 1, 1))).drawn == 500


def test_a_raised_allotment_lets_the_next_occurrence_be_made(make_series, make_product):
    product = make_product(monthly_allotment=0)
    series_id = make_series(product_id=product.id)
    assert runs_of(series_id) == {"2027-01-10 18:00": ("skipped", "ALLOTMENT_EXHAUSTED")}

    with transaction() as session:
        session.get(Product, product.id).monthly_allotment = 10
    plan_series(NOON + SECOND)

    assert sales_of(series_id)[0].total_stock == 10


def test_a_buyers_month_counts_all_runs_of_the_series_together(live_run):
    series_id, first = live_run(max_per_user_month=3)
    assert buy(first, 1, 2) == "confirmed"

    second = restart_sale(first, actor_id=None)

    assert buy(second, 1, 2) == "LIMIT_EXCEEDED"
    assert buy(second, 1, 1) == "confirmed"
    assert buy(second, 1, 1) == "LIMIT_EXCEEDED"
    assert buy(second, 2, 3) == "confirmed"
    assert months_of_buyers(series_id) == recounted(series_id)
    assert sorted(months_of_buyers(series_id).values()) == [3, 3]


def test_what_is_refunded_cancelled_or_expired_may_be_bought_again_this_month(live_run):
    series_id, sale_id = live_run(max_per_user_month=1)
    assert buy(sale_id, 1) == "confirmed"
    holds.refund(sale_id, 1, actor_id=9, reason="changed their mind")
    assert buy(sale_id, 1, kind=Kind.RESERVATION) == "reserved"
    assert buy(sale_id, 1) == "LIMIT_EXCEEDED"
    holds.cancel(sale_id, [2], 1)
    assert buy(sale_id, 1, kind=Kind.RESERVATION) == "reserved"
    with transaction() as session:
        session.execute(text("UPDATE purchases SET expires_at = now() WHERE status = 'reserved'"))
    holds.expire_due_holds()
    assert buy(sale_id, 1, kind=Kind.RESERVATION) == "reserved"
    holds.checkout(sale_id, [5], 1)

    assert months_of_buyers(series_id) == recounted(series_id)
    assert list(months_of_buyers(series_id).values()) == [1]


def test_a_limit_that_is_set_in_the_middle_of_a_month_counts_what_was_bought_before(live_run):
    series_id, sale_id = live_run()
    assert buy(sale_id, 1, 2) == "confirmed"

    series_rules.patch_series(series_id, {"max_per_user_month": 2}, now=clock())

    assert buy(sale_id, 1) == "LIMIT_EXCEEDED"


def _two_runs_with_mail(live_run):
    """Two runs of one series with the same twenty buyers in both lines, who may have one unit a month."""
    series_id, first = live_run(max_per_user_month=1)
    for user in range(1, 21):
        admit(first, user, Kind.PURCHASE, 1)
    second = restart_sale(first, actor_id=None)
    for user in range(1, 21):
        admit(second, user, Kind.PURCHASE, 1)
    return series_id, first, second


@pytest.mark.parametrize("_round", range(3))
def test_two_runs_of_one_series_settled_at_once_keep_everyone_within_the_month(live_run, _round):
    series_id, *sales = _two_runs_with_mail(live_run)

    together(8, lambda number: settle_turn(sales[number % 2]))

    assert set(months_of_buyers(series_id).values()) == {1}
    assert len(months_of_buyers(series_id)) == 20
    assert months_of_buyers(series_id) == recounted(series_id)


def test_control_without_the_months_lock_both_runs_look_first_and_both_sell(live_run, monkeypatch):
    """The same race where each settles by what it saw: both see that the buyer has nothing yet."""
    series_id, *sales = _two_runs_with_mail(live_run)
    both_have_looked = Barrier(2)

    def decide_by_what_was_seen(*seen):
        both_have_looked.wait(5)
        return decide(*seen)

    monkeypatch.setattr(buyer_months, "_lock", lambda *_: None)
    monkeypatch.setattr(outcomes, "decide", decide_by_what_was_seen)

    together(2, lambda number: settle_turn(sales[number]))

    assert set(recounted(series_id).values()) == {2}, "the race did not happen: the guarded test proves nothing"


def test_past_purchases_leave_the_new_month_free(live_run):
    sale_id = live_run(max_per_user_month=1)[1]
    assert buy(sale_id, 1) == "confirmed"
    with transaction() as session:
        session.execute(
            text("UPDATE flash_sales SET month = month + interval '1 month' WHERE id = :id"), {"id": sale_id}
        )

    assert buy(sale_id, 1) == "confirmed"
