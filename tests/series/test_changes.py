"""A series that is changed, paused or ended takes back the run that stands ready, and leaves those that began."""

from datetime import date, timedelta

import pytest

from models import series_rules
from models.database import transaction
from models.series import SeriesMonth
from models.series_plan import plan_series
from tests.series.helpers import NOON, local, runs_of, sales_of, utc

HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)


def test_a_changed_series_takes_its_next_run_back_and_makes_it_by_the_new_terms(make_series):
    series_id = make_series(duration_seconds=3600)

    series_rules.patch_series(series_id, {"starts_local": local(2027, 1, 1, 20), "stock_per_run": 7}, now=NOON)

    (sale,) = sales_of(series_id)
    assert (sale.starts_at, sale.total_stock) == (utc(2027, 1, 10, 20), 7)
    assert runs_of(series_id) == {"2027-01-10 18:00": ("withdrawn", None), "2027-01-10 20:00": ("made", None)}
    with transaction() as session:
        assert session.get(SeriesMonth, (series_id, date(2027, 1, 1))).runs == 1


def test_a_run_that_is_on_ends_where_the_new_rule_begins_the_next(make_series):
    series_id = make_series()
    now = utc(2027, 1, 10, 19)
    plan_series(now)

    series_rules.patch_series(series_id, {"starts_local": local(2027, 1, 1, 22)}, now=now)

    assert [sale.starts_at.hour for sale in sales_of(series_id)] == [18, 22]
    assert sales_of(series_id)[0].ends_at == utc(2027, 1, 10, 22)


def test_a_paused_series_plans_nothing_and_a_resumed_one_makes_the_same_occurrence_again(make_series):
    series_id = make_series(duration_seconds=3600)

    series_rules.pause_series(series_id, now=NOON)
    plan_series(NOON + HOUR)
    assert sales_of(series_id) == []

    series_rules.resume_series(series_id, now=NOON + HOUR)
    assert [sale.starts_at for sale in sales_of(series_id)] == [utc(2027, 1, 10, 18)]
    assert runs_of(series_id) == {"2027-01-10 18:00": ("made", None)}


def test_a_series_that_ended_leaves_its_sales_and_takes_only_the_next_one_back(make_series):
    series_id = make_series(duration_seconds=3600)
    plan_series(utc(2027, 1, 10, 18, 30))

    series_rules.end_series(series_id, now=utc(2027, 1, 10, 18, 31))
    plan_series(NOON + WEEK)

    assert [sale.starts_at for sale in sales_of(series_id)] == [utc(2027, 1, 10, 18)]
    with pytest.raises(series_rules.SeriesEndedError):
        series_rules.resume_series(series_id, now=NOON + WEEK)
