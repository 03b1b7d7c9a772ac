"""The next run of a series stands ready as a sale of its own, whatever beat does."""

from datetime import date, timedelta
from decimal import Decimal
from threading import Barrier
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from models import sales
from models.audit import audit_sale
from models.database import transaction
from models.product import Product
from models.redisclient import redis_client
from models.rediskeys import view
from models.sales import ActiveSaleExistsError
from models.series import SeriesMonth
from models.series_plan import plan_series
from tests.series.helpers import NOON, local, runs_of, sales_of, together, utc

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)


def test_a_new_series_has_its_next_run_ready_with_fresh_stock_and_nothing_of_the_past(make_series):
    series_id = make_series()

    (sale,) = sales_of(series_id)

    assert (sale.starts_at, sale.ends_at) == (utc(2027, 1, 10, 18), utc(2027, 1, 11, 18))
    assert (sale.state, sale.total_stock, sale.remaining) == ("scheduled", 200, 200)
    assert sale.run_at == sale.starts_at
    assert sale.month == date(2027, 1, 1)
    assert audit_sale(sale.id).agrees
    assert redis_client().hget(view(sale.id), "remaining") == "200", "the gate must know it before it opens"


def test_a_run_ends_after_its_time_and_never_after_the_next_begins(make_series):
    short, long = make_series(duration_seconds=3600), make_series(duration_seconds=7 * 86_400)

    assert sales_of(short)[0].ends_at == utc(2027, 1, 10, 19)
    assert sales_of(long)[0].ends_at == utc(2027, 1, 11, 18)


def test_while_a_run_is_on_the_next_one_stands_ready(make_series):
    series_id = make_series()

    planned = plan_series(utc(2027, 1, 10, 18, 0, 1))

    assert len(planned.sale_ids) == 1
    first, second = sales_of(series_id)
    assert first.ends_at == second.starts_at == utc(2027, 1, 11, 18)


def test_planning_again_changes_nothing(make_series):
    series_id = make_series()

    for _ in range(3):
        assert plan_series(NOON).sale_ids == []

    assert len(sales_of(series_id)) == 1


@pytest.mark.parametrize("rounds", range(3))
def test_eight_planners_at_once_make_one_run_each_time(make_series, rounds):
    series_id = make_series(duration_seconds=3600)
    now = NOON + WEEK + rounds * HOUR + 7 * HOUR

    together(8, lambda _: plan_series(now))

    starts = [sale.starts_at for sale in sales_of(series_id)]
    assert len(starts) == len(set(starts))
    with transaction() as session:
        assert session.get(SeriesMonth, (series_id, date(2027, 1, 1))).runs == len(starts)


def test_control_two_planners_who_look_first_and_then_insert_make_two_runs(make_sale):
    """What everyone writes first, without the lock and the rules of the database: both look, both see nothing."""
    product_id = make_sale(paused=True).product_id
    both_have_looked = Barrier(2)

    def plan(_):
        with transaction() as session:
            # Without the guards: a paused sale has none, and neither has one without a series.
            found = session.scalar(text("SELECT count(*) FROM flash_sales WHERE title = 'run'"))
            both_have_looked.wait(5)
            if not found:
                session.execute(
                    text("""
                        INSERT INTO flash_sales (title, product_id, currency, total_stock, starts_at, hold_seconds,
                            paused)
                        VALUES ('run', :product_id, 'USD', 1, now(), 600, true)
                    """),
                    {"product_id": product_id},
                )

    together(2, plan)

    with transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM flash_sales WHERE title = 'run'")) == 2


def test_the_database_itself_refuses_a_second_sale_for_an_occurrence(make_series):
    series_id = make_series()
    copy = text("""
        INSERT INTO flash_sales (title, product_id, currency, total_stock, starts_at, hold_seconds, paused,
            series_id, run_at)
        SELECT title, product_id, currency, 1, starts_at, 600, true, series_id, run_at FROM flash_sales
    """)

    with pytest.raises(IntegrityError, match="uq_flash_sales_series_id_run_at"), transaction() as session:
        session.execute(copy)

    assert len(sales_of(series_id)) == 1


def test_the_database_itself_refuses_two_runs_at_one_time(make_series):
    make_series()
    copy = text("""
        INSERT INTO flash_sales (title, product_id, currency, total_stock, starts_at, hold_seconds, series_id)
        SELECT title, product_id, currency, 1, starts_at + interval '1 hour', 600, series_id FROM flash_sales
    """)

    with pytest.raises(IntegrityError, match="ex_flash_sales_one_at_a_time"), transaction() as session:
        session.execute(copy)


def test_a_week_without_beat_is_not_made_up_for(make_series):
    series_id = make_series(duration_seconds=3600)

    plan_series(NOON + WEEK)

    assert list(runs_of(series_id)) == ["2027-01-10 18:00", "2027-01-17 18:00"]


def test_after_a_week_without_beat_the_run_whose_time_is_not_over_starts_at_once(make_series):
    series_id = make_series(duration_seconds=3600)

    plan_series(utc(2027, 1, 17, 18, 30))

    assert list(runs_of(series_id)) == ["2027-01-10 18:00", "2027-01-17 18:00", "2027-01-18 18:00"]
    running = sales_of(series_id)[1]
    assert (running.state, running.ends_at) == ("live", utc(2027, 1, 17, 19))


def test_every_day_of_two_years_has_its_run_on_the_wall_clock(make_series):
    zone = ZoneInfo("Europe/Berlin")
    series_id = make_series(zone="Europe/Berlin", starts_local=local(2027, 1, 11, 2, 30), duration_seconds=3600)

    now = NOON
    while now < utc(2029, 1, 10, 12):
        plan_series(now)
        now += DAY

    starts = [sale.starts_at for sale in sales_of(series_id)]
    assert [start.astimezone(zone).date() for start in starts] == [
        date(2027, 1, 11) + DAY * n for n in range(len(starts))
    ]
    assert len(starts) == 731
    odd = [start for start in starts if (start.astimezone(zone).hour, start.astimezone(zone).minute) != (2, 30)]
    assert odd == [utc(2027, 3, 28, 1, 30), utc(2028, 3, 26, 1, 30)]


def test_an_occurrence_beside_another_sale_of_the_product_is_left_out_and_says_why(
    make_series, make_sale, make_product
):
    product = make_product()
    other = make_sale(product_id=product.id, starts_at=utc(2027, 1, 10), ends_at=utc(2027, 1, 11), state="scheduled")
    series_id = make_series(product_id=product.id, duration_seconds=3600)

    assert sales_of(series_id) == []
    assert runs_of(series_id) == {"2027-01-10 18:00": ("skipped", "ACTIVE_SALE")}

    plan_series(utc(2027, 1, 10, 18, 1))
    assert list(runs_of(series_id).values()) == [("skipped", "ACTIVE_SALE"), ("made", None)]
    assert other.starts_at < sales_of(series_id)[0].starts_at


def test_an_occurrence_that_was_left_out_is_made_if_its_place_is_free_before_it_starts(
    make_series, make_sale, make_product
):
    product = make_product()
    other = make_sale(product_id=product.id, starts_at=utc(2027, 1, 10), ends_at=utc(2027, 1, 11), state="scheduled")
    series_id = make_series(product_id=product.id)

    sales.cancel_sale(other.id)
    plan_series(NOON + HOUR)

    assert runs_of(series_id) == {"2027-01-10 18:00": ("made", None)}


def test_a_sale_cannot_be_made_over_a_run_that_stands_ready(make_series, make_product):
    product = make_product()
    # Far ahead: a sale is made by the real clock.
    make_series(now=utc(2067, 1, 10, 12), product_id=product.id, starts_local=local(2067, 1, 1, 18))
    over = sales.NewSale(product.id, "Over it", utc(2067, 1, 10, 17), utc(2067, 1, 10, 20))
    before = sales.NewSale(product.id, "Before it", utc(2067, 1, 10, 16), utc(2067, 1, 10, 18))

    with pytest.raises(ActiveSaleExistsError):
        sales.create_sale(over, actor_id=None)
    assert sales.create_sale(before, actor_id=None)


def test_two_series_of_one_product_are_never_on_at_one_time(make_series, make_product):
    product = make_product()
    make_series(product_id=product.id, duration_seconds=3600)
    other = make_series(product_id=product.id, starts_local=local(2027, 1, 1, 18, 30), duration_seconds=3600)

    assert runs_of(other) == {"2027-01-10 18:30": ("skipped", "ACTIVE_SALE")}


def test_a_price_that_is_no_offer_any_more_leaves_the_run_out(make_series, make_product):
    product = make_product()
    series_id = make_series(product_id=product.id, duration_seconds=3600)
    with transaction() as session:
        session.get(Product, product.id).price = Decimal(40)

    plan_series(NOON + DAY)

    assert runs_of(series_id)["2027-01-11 18:00"] == ("skipped", "PRICE_NOT_BELOW")


def test_a_series_runs_out_after_its_count_and_the_last_run_is_open_ended(make_series):
    series_id = make_series(rule="FREQ=DAILY;COUNT=2", starts_local=local(2027, 1, 10, 18))

    plan_series(NOON + DAY)
    plan_series(NOON + WEEK)

    assert [sale.ends_at for sale in sales_of(series_id)] == [utc(2027, 1, 11, 18), None]


def test_a_month_has_no_more_runs_than_it_may_and_the_next_month_starts_afresh(make_series):
    series_id = make_series(runs_per_month=2, duration_seconds=3600)

    now = NOON
    while now < utc(2027, 2, 4):
        plan_series(now)
        now += DAY

    made = [run for run, (outcome, _) in runs_of(series_id).items() if outcome == "made"]
    assert made == ["2027-01-10 18:00", "2027-01-11 18:00", "2027-02-01 18:00", "2027-02-02 18:00"]
    assert {reason for _, reason in runs_of(series_id).values() if reason} == {"RUNS_EXHAUSTED"}


def test_a_zone_that_was_dropped_stops_its_own_series_alone(make_series):
    broken, sound = make_series(), make_series()
    with transaction() as session:
        session.execute(text("UPDATE series SET zone = 'Nowhere/Land' WHERE id = :id"), {"id": broken})

    plan_series(NOON + DAY)

    assert len(sales_of(broken)) == 1
    assert len(sales_of(sound)) == 2
