"""Restarting by hand: the next run of the same product, with fresh stock, at once."""

from datetime import timedelta
from decimal import Decimal

import pytest

from models import holds, sales, series_rules
from models.audit import audit_sale
from models.database import transaction
from models.errors import ConflictError, DomainError, InvalidError
from models.gate import admit
from models.product import Product
from models.purchase import Kind, Purchase
from models.reservations import product_status
from models.restarts import restart_sale
from models.sale_queries import get_sale
from models.sale_rules import SaleNotFoundError
from models.sales import ActiveSaleExistsError
from models.series import SeriesRun
from models.series_plan import plan_series
from models.series_rules import clock
from models.settle import settle_turn
from tests.series.helpers import sales_of, together, utc

HOUR = timedelta(hours=1)


def test_a_sale_that_sold_out_starts_again_with_fresh_stock_and_as_long_as_before(make_sale, sale_row):
    old = make_sale(total_stock=2, lasts=HOUR, max_per_user=5, featured=True)
    admit(old.id, 1, Kind.PURCHASE, 2)
    settle_turn(old.id)

    new = sale_row(restart_sale(old.id, actor_id=None))

    assert (new.state, new.total_stock, new.sold, new.product_id) == ("live", 2, 0, old.product_id)
    assert new.ends_at - new.starts_at == HOUR
    assert (new.title, new.flash_price, new.max_per_user, new.featured) == ("A sale", Decimal("49.99"), 5, True)
    assert (sale_row(old.id).sold, sale_row(old.id).end_reason) == (2, "sold-out")
    assert admit(new.id, 1, Kind.PURCHASE, 1).ticket == 1
    assert audit_sale(old.id).agrees
    assert audit_sale(new.id).agrees


def test_a_live_sale_ends_and_its_line_is_still_answered_from_its_own_stock(make_sale, sale_row):
    old = make_sale(total_stock=3)
    for user in (1, 2):
        admit(old.id, user, Kind.PURCHASE, 1)

    new_id = restart_sale(old.id, actor_id=None)
    with pytest.raises(DomainError) as late:
        admit(old.id, 3, Kind.PURCHASE, 1)
    settle_turn(old.id)

    assert late.value.code == "ENDED"
    assert (sale_row(old.id).state, sale_row(old.id).end_reason, sale_row(old.id).sold) == ("ended", "time-ended", 2)
    assert (sale_row(new_id).sold, sale_row(new_id).total_stock) == (0, 3)
    with transaction() as session:
        assert {row.status for row in session.query(Purchase)} == {"confirmed"}


@pytest.mark.parametrize("_round", range(3))
def test_restarted_eight_times_at_once_there_is_one_new_run(make_sale, _round):
    old = make_sale()

    made = together(8, lambda _: restart_sale(old.id, actor_id=None))

    assert sum(isinstance(one, int) for one in made) == 1
    assert made.count(ActiveSaleExistsError.code) == 7


def test_a_run_of_a_series_restarted_eight_times_at_once_is_one_new_run(live_run):
    series_id, old_id = live_run()

    made = together(8, lambda _: restart_sale(old_id, actor_id=None))

    assert sum(isinstance(one, int) for one in made) == 1
    assert made.count(ActiveSaleExistsError.code) == 7
    assert [sale.state for sale in sales_of(series_id)] == ["ended", "live", "scheduled"]


def test_a_restarted_run_ends_where_the_next_one_begins_and_counts_as_a_run(live_run):
    series_id, old_id = live_run(runs_per_month=2)

    new = get_sale(restart_sale(old_id, actor_id=7))

    old, same, ahead = sales_of(series_id)
    assert same.id == new.id
    assert old.ends_at == new.starts_at == new.run_at
    assert new.ends_at == ahead.starts_at
    with transaction() as session:
        runs = session.query(SeriesRun).filter_by(series_id=series_id).order_by(SeriesRun.run_at)
        assert [(run.outcome, run.by_hand) for run in runs] == [("made", False), ("made", True), ("made", False)]
    with pytest.raises(ConflictError) as refused:
        restart_sale(new.id, actor_id=7)
    assert refused.value.code == "RUNS_EXHAUSTED"
    assert get_sale(new.id).state == "live", "a refused restart must not have ended the run"


def test_many_restarts_and_planners_at_once_leave_one_run_on_and_one_ready(live_run):
    series_id, old_id = live_run()
    now = clock()

    together(8, lambda n: restart_sale(old_id, actor_id=None) if n % 2 else plan_series(now))

    assert [sale.state for sale in sales_of(series_id)] == ["ended", "live", "scheduled"]


def test_a_restart_draws_from_the_months_allotment_until_it_is_empty(make_sale, make_product):
    product = make_product(monthly_allotment=250)
    old = make_sale(product_id=product.id, total_stock=200)

    first = restart_sale(old.id, actor_id=None)
    second = restart_sale(first, actor_id=None)

    assert (get_sale(first).total_stock, get_sale(second).total_stock) == (200, 50)
    with pytest.raises(ConflictError) as refused:
        restart_sale(second, actor_id=None)
    assert refused.value.code == "ALLOTMENT_EXHAUSTED"


def test_a_sale_whose_place_another_has_taken_is_not_restarted(make_sale):
    old = make_sale()
    sales.end_sale(old.id)
    make_sale(product_id=old.product_id)

    with pytest.raises(ActiveSaleExistsError):
        restart_sale(old.id, actor_id=None)


def test_a_sale_that_has_not_started_or_does_not_exist_is_not_restarted(make_sale):
    ahead = make_sale(opens_in=HOUR)

    with pytest.raises(ConflictError) as refused:
        restart_sale(ahead.id, actor_id=None)
    assert refused.value.code == "NOT_STARTED"
    with pytest.raises(SaleNotFoundError):
        restart_sale(ahead.id + 1, actor_id=None)


def test_a_price_that_is_no_offer_any_more_is_refused(make_sale):
    old = make_sale()
    with transaction() as session:
        session.get(Product, old.product_id).price = Decimal("49.99")

    with pytest.raises(InvalidError) as refused:
        restart_sale(old.id, actor_id=None)
    assert refused.value.fields[0].field == "flashPrice"
    assert get_sale(old.id).state == "live"


def test_after_its_series_has_ended_a_run_is_restarted_on_its_own(live_run, sale_row):
    series_id, old_id = live_run()
    series_rules.end_series(series_id, now=clock())

    new = sale_row(restart_sale(old_id, actor_id=None))

    assert (new.series_id, new.state) == (None, "live")


def test_a_restart_under_a_moved_clock_takes_the_time_it_is_told(make_series):
    series_id = make_series()

    new = get_sale(restart_sale(sales_of(series_id)[0].id, actor_id=None, now=utc(2027, 1, 10, 20)))

    assert (new.starts_at, new.ends_at) == (utc(2027, 1, 10, 20), utc(2027, 1, 11, 18))


def test_who_names_the_product_gets_the_run_that_is_on_and_not_the_one_that_stands_ready(live_run, make_product):
    product = make_product()
    _, sale_id = live_run(product_id=product.id)

    assert product_status(product.id).sale.id == sale_id


def test_a_refund_opens_a_run_that_sold_out_again_though_the_next_one_stands_ready(live_run, sale_row):
    _, sale_id = live_run(stock_per_run=1)
    admit(sale_id, 1, Kind.PURCHASE, 1)
    settle_turn(sale_id)
    assert sale_row(sale_id).end_reason == "sold-out"

    holds.refund(sale_id, 1, actor_id=9, reason="changed their mind")

    assert sale_row(sale_id).state == "live"


def test_a_refund_leaves_a_run_shut_whose_time_a_restart_has_taken(live_run, sale_row):
    _, sale_id = live_run(stock_per_run=1)
    admit(sale_id, 1, Kind.PURCHASE, 1)
    settle_turn(sale_id)
    restart_sale(sale_id, actor_id=None)

    holds.refund(sale_id, 1, actor_id=9, reason="changed their mind")

    assert (sale_row(sale_id).state, sale_row(sale_id).remaining) == ("ended", 1)
