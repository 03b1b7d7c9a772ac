"""The reset that starts a month afresh: once for each month, at its own instant, whatever beat does."""

from datetime import date, timedelta

import pytest

from models.database import transaction
from models.series import SeriesReset
from models.series_plan import plan_series
from models.series_resets import reset_months
from models.series_rules import clock
from tests.series.helpers import NOON, buy, local, sales_of, together, utc

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
ZONES = {"Europe/Berlin": (2, 28, 23), "America/New_York": (3, 1, 5), "Pacific/Kiritimati": (2, 28, 10)}


def resets_of(series_id):
    with transaction() as session:
        rows = session.query(SeriesReset).filter_by(series_id=series_id).all()
        return {row.month: row.at for row in rows}


@pytest.mark.parametrize("zone", ZONES)
def test_a_month_is_reset_to_the_second_in_the_series_own_zone(make_series, zone):
    series_id = make_series(zone=zone)
    begins = utc(2027, *ZONES[zone])
    reset_months(begins - DAY * 2)
    known = resets_of(series_id)

    assert reset_months(begins - SECOND) == 0
    assert reset_months(begins) == 1
    assert reset_months(begins + SECOND) == 0

    assert resets_of(series_id) == {date(2027, 3, 1): begins} | known


def test_eight_beats_at_once_reset_a_month_once(make_series):
    series_ids = [make_series() for _ in range(5)]

    written = together(8, lambda _: reset_months(utc(2027, 2, 1)))

    assert sum(written) == 5
    assert all(list(resets_of(series_id)) == [date(2027, 2, 1)] for series_id in series_ids)


def test_months_that_passed_while_beat_was_down_are_each_written_down_with_their_own_instant(make_series):
    series_id = make_series(zone="Europe/Berlin")

    assert reset_months(utc(2027, 4, 20)) == 3

    assert resets_of(series_id) == {
        date(2027, 2, 1): utc(2027, 1, 31, 23),
        date(2027, 3, 1): utc(2027, 2, 28, 23),
        date(2027, 4, 1): utc(2027, 3, 31, 22),
    }


def test_two_years_of_beats_at_odd_times_write_every_month_once(make_series):
    series_id = make_series(zone="America/New_York", rule="FREQ=MONTHLY;BYMONTHDAY=31")

    now = NOON
    while now < utc(2029, 1, 10):
        together(2, lambda _, now=now: reset_months(now))
        now += timedelta(days=3, hours=7)

    assert len(resets_of(series_id)) == 24


def test_a_reset_says_what_the_month_before_had_come_to_and_touches_no_sale(live_run, sale_row):
    series_id, sale_id = live_run()
    buy(sale_id, 1, 2)
    buy(sale_id, 2, 1)
    before = sale_row(sale_id)

    next_month = (clock() + timedelta(days=40)).replace(day=2)
    reset_months(next_month)

    with transaction() as session:
        (row, *_) = session.query(SeriesReset).filter_by(series_id=series_id).order_by(SeriesReset.month).all()
    assert (row.runs_before, row.drawn_before, row.buyers_before, row.units_before) == (1, 200, 2, 3)
    after = sale_row(sale_id)
    assert (after.revision, after.sold, after.total_stock) == (before.revision, before.sold, before.total_stock)


def test_without_any_beat_at_all_the_new_month_is_fresh(make_series, make_product):
    """The counters are kept by month, so nothing has to happen at midnight for it to be a new month."""
    product = make_product(monthly_allotment=200)
    series_id = make_series(
        product_id=product.id, rule="FREQ=MONTHLY;BYMONTHDAY=-1,1;BYHOUR=0,23;BYMINUTE=59,0;BYSETPOS=1,-1",
        starts_local=local(2027, 1, 31, 23, 59), zone="Europe/Berlin", runs_per_month=1, duration_seconds=60,
    )  # fmt: skip

    plan_series(utc(2027, 1, 31, 22, 59, 1))

    assert [(sale.month, sale.total_stock) for sale in sales_of(series_id)] == [
        (date(2027, 1, 1), 200),
        (date(2027, 2, 1), 200),
    ]
    assert sales_of(series_id)[1].starts_at == utc(2027, 1, 31, 23)
