"""Recurrence rules on the wall clock of a zone: when runs are, and which rules are none."""

import time
from contextlib import suppress
from datetime import UTC, date, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidError
from models.months import instant_of, month_of, month_start, months_after, zone_of
from models.recurrence import recurrence_of
from tests.series.helpers import local, utc

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


def runs(rule, starts, zone, after, until):
    """The runs of a rule after one moment up to another, as text in UTC."""
    found = []
    for run in recurrence_of(rule, starts, zone).runs_from(after):
        if run > until:
            break
        found.append(f"{run:%Y-%m-%d %H:%M}")
    return found


def test_a_weekly_sale_keeps_its_hour_on_the_wall_clock_through_the_year():
    found = runs("FREQ=WEEKLY", local(2027, 3, 22, 18), BERLIN, utc(2027, 3, 1), utc(2027, 4, 6))

    assert found == ["2027-03-22 17:00", "2027-03-29 16:00", "2027-04-05 16:00"]


@pytest.mark.parametrize(
    ("zone", "night", "expected"),
    [
        # 02:30 does not occur: RFC 5545, section 3.3.5 reads it with the offset from before, so at 03:30 summer time.
        (BERLIN, date(2027, 3, 28), "2027-03-28 01:30"),
        (NEW_YORK, date(2027, 3, 14), "2027-03-14 07:30"),
        # 02:30 occurs twice in Berlin: the first of the two. In New York it is 01:30 that does, and 02:30 once.
        (BERLIN, date(2027, 10, 31), "2027-10-31 00:30"),
        (NEW_YORK, date(2027, 11, 7), "2027-11-07 07:30"),
    ],
)
def test_at_half_past_two_every_night_has_exactly_one_run_when_clocks_change(zone, night, expected):
    noon = instant_of(local(night.year, night.month, night.day, 12), zone)

    found = runs("FREQ=DAILY", local(2026, 12, 1, 2, 30), zone, noon - timedelta(days=2), noon + timedelta(days=1))

    assert len(found) == 3
    assert found[1] == expected


def test_an_hour_that_occurs_twice_in_new_york_has_one_run():
    assert runs("FREQ=DAILY", local(2027, 11, 1, 1, 30), NEW_YORK, utc(2027, 11, 7), utc(2027, 11, 8, 12)) == [
        "2027-11-07 05:30",
        "2027-11-08 06:30",
    ]


def test_every_night_of_two_years_has_its_run_and_none_has_two():
    for zone in (BERLIN, NEW_YORK):
        first = local(2026, 12, 1, 2, 30)
        found = list(recurrence_of("FREQ=DAILY", first, zone).next_runs(utc(2026, 11, 30), 731))
        nights = [run.astimezone(zone).date() for run in found]
        assert nights == [date(2026, 12, 1) + timedelta(days=n) for n in range(731)]


def test_two_local_times_of_a_dense_rule_that_are_one_moment_are_one_run():
    found = runs("FREQ=MINUTELY;INTERVAL=30", local(2027, 1, 1), NEW_YORK, utc(2027, 3, 14, 6), utc(2027, 3, 14, 9))

    # 02:00 and 02:30 do not occur and are 03:00 and 03:30, which are there already.
    assert found == [f"2027-03-14 {time}" for time in ["06:00", "06:30", "07:00", "07:30", "08:00", "08:30", "09:00"]]


def test_a_month_without_a_31st_has_no_run_on_the_31st():
    found = runs("FREQ=MONTHLY", local(2027, 1, 31, 12), BERLIN, utc(2027, 1, 1), utc(2028, 1, 1))

    assert [run[5:7] for run in found] == ["01", "03", "05", "07", "08", "10", "12"]


def test_the_last_day_of_the_month_is_in_every_month():
    found = runs("FREQ=MONTHLY;BYMONTHDAY=-1", local(2027, 1, 31, 12), BERLIN, utc(2028, 1, 1), utc(2028, 4, 1))

    assert [run[:10] for run in found] == ["2028-01-31", "2028-02-29", "2028-03-31"]


def test_a_leap_day_comes_every_four_years():
    found = runs("FREQ=YEARLY", local(2028, 2, 29, 12), BERLIN, utc(2026, 1, 1), utc(2041, 1, 1))

    assert [run[:10] for run in found] == ["2028-02-29", "2032-02-29", "2036-02-29", "2040-02-29"]


def test_until_in_utc_and_in_local_time_and_count_end_a_rule():
    first = local(2027, 6, 1, 18)
    for rule in (
        "FREQ=DAILY;UNTIL=20270603T160000Z",
        "FREQ=DAILY;UNTIL=20270603T180000",
        "FREQ=DAILY;UNTIL=20270603",
        "FREQ=DAILY;COUNT=3",
    ):
        assert len(runs(rule, first, BERLIN, utc(2027, 1, 1), utc(2028, 1, 1))) == 3, rule


def test_the_run_before_a_moment_is_found_however_long_ago():
    rule = recurrence_of("FREQ=YEARLY", local(2028, 2, 29, 12), BERLIN)

    assert rule.run_at_or_before(utc(2028, 2, 29, 11)) == utc(2028, 2, 29, 11)
    assert rule.run_at_or_before(utc(2031, 12, 31)) == utc(2028, 2, 29, 11)
    assert rule.run_at_or_before(utc(2028, 2, 29, 10, 59)) is None


DAYS = [
    "FREQ=DAILY;INTERVAL=3",
    "FREQ=DAILY;BYMONTH=1,6;BYHOUR=9,18",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;WKST=SU",
    "FREQ=MONTHLY;BYDAY=1FR,-1SU",
    "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=31,-31",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
    "FREQ=YEARLY;BYWEEKNO=53,1;BYDAY=MO",
    "FREQ=YEARLY;INTERVAL=3;BYYEARDAY=1,366,-1",
    "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH",
    "FREQ=HOURLY;INTERVAL=7;BYDAY=SA",
    "FREQ=HOURLY;INTERVAL=5",
]


@given(
    rule=st.sampled_from(DAYS),
    starts=st.datetimes(local(2024, 1, 1), local(2029, 1, 1)),
    later=st.timedeltas(timedelta(0), timedelta(days=3_000)),
)
def test_a_search_that_begins_late_finds_what_dateutil_finds_from_the_start(rule, starts, later):
    starts = starts.replace(microsecond=0)
    low = starts + later
    ours = recurrence_of(rule, starts, ZoneInfo("UTC")).next_runs(low.replace(tzinfo=UTC), 5)

    theirs = rrulestr(rule, dtstart=starts).xafter(low, count=5)

    assert [run.replace(tzinfo=None) for run in ours] == list(theirs)


NEVER = [
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=31",
    "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=DAILY;BYMONTH=4,6,9,11;BYMONTHDAY=31",
    "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=HOURLY;INTERVAL=24;BYHOUR=3",
    "FREQ=MINUTELY;INTERVAL=60;BYMINUTE=1",
    "FREQ=MINUTELY;INTERVAL=1000;BYHOUR=3;BYMINUTE=1",
    "FREQ=DAILY;UNTIL=20260101",
]
NO_RULES = [
    "",
    " ",
    "DAILY",
    "FREQ=",
    "FREQ=NEVER",
    "FREQ=SECONDLY",
    "INTERVAL=2",
    "FREQ=DAILY;",
    ";FREQ=DAILY",
    "FREQ=DAILY;FREQ=WEEKLY",
    "FREQ=DAILY;COUNT=3;UNTIL=20300101",
    "FREQ=DAILY;COUNT=0",
    "FREQ=DAILY;COUNT=10001",
    "FREQ=DAILY;COUNT=-1",
    "FREQ=DAILY;INTERVAL=0",
    "FREQ=DAILY;INTERVAL=1001",
    "FREQ=DAILY;INTERVAL=\u0661",
    "FREQ=DAILY;UNTIL=tomorrow",
    "FREQ=DAILY;UNTIL=20270230",
    "FREQ=DAILY;UNTIL=20270101T250000Z",
    "FREQ=DAILY;BYHOUR=24",
    "FREQ=DAILY;BYHOUR=-1",
    "FREQ=DAILY;BYMINUTE=60",
    "FREQ=DAILY;BYSECOND=60",
    "FREQ=DAILY;BYSECOND=0,30",
    "FREQ=DAILY;BYMONTH=13",
    "FREQ=DAILY;BYMONTH=0",
    "FREQ=MONTHLY;BYMONTHDAY=0",
    "FREQ=MONTHLY;BYMONTHDAY=32",
    "FREQ=MONTHLY;BYMONTHDAY=",
    "FREQ=WEEKLY;BYMONTHDAY=1",
    "FREQ=WEEKLY;BYDAY=1MO",
    "FREQ=WEEKLY;BYDAY=XX",
    "FREQ=WEEKLY;BYDAY=+MO",
    "FREQ=WEEKLY;BYDAY=",
    "FREQ=MONTHLY;BYDAY=0MO",
    "FREQ=MONTHLY;BYDAY=54MO",
    "FREQ=MONTHLY;BYWEEKNO=1",
    "FREQ=MONTHLY;BYYEARDAY=1",
    "FREQ=YEARLY;BYSETPOS=1",
    "FREQ=YEARLY;BYEASTER=0",
    "FREQ=MINUTELY;BYDAY=MO",
    "FREQ=DAILY;WKST=1",
    "FREQ=DAILY\nDTSTART:20270101T000000",
    "DTSTART:20270101T000000;FREQ=DAILY",
    "FREQ=DAILY;DTSTART=20270101T000000",
    "FREQ=DAILY;TZID=UTC",
    "RRULE:FREQ=DAILY",
    "FREQ=DAILY;BYHOUR=" + ",".join(["1"] * 300),
]


@pytest.mark.parametrize("rule", [*NEVER, *NO_RULES])
def test_what_is_no_rule_or_never_occurs_is_refused_by_name_and_soon(rule):
    started = time.perf_counter()

    with pytest.raises(InvalidError) as refused:
        recurrence_of(rule, local(2026, 11, 27, 18), BERLIN)

    assert refused.value.fields[0].field == "rule"
    # Without the bound, dateutil searches some of these until the year 9999: minutes.
    assert time.perf_counter() - started < 20


@given(st.text(alphabet="FREQ=DAILYMONTHWKUS;BYCOUNTINTERVAL0123456789,+-", max_size=80))
def test_any_text_is_a_rule_or_refused(text):
    with suppress(InvalidError):
        recurrence_of("FREQ=" + text, local(2026, 11, 27, 18), BERLIN)


@pytest.mark.parametrize("name", ["", "Berlin", "europe/berlin", "Mars/Base", "../../etc/passwd", "America", "UTC+1"])
def test_a_zone_that_nobody_knows_is_refused(name):
    with pytest.raises(InvalidError) as refused:
        zone_of(name)

    assert refused.value.fields[0].field == "zone"


def test_a_month_begins_at_midnight_on_the_zones_own_clock():
    kiritimati, honolulu = ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Honolulu")

    assert month_start(date(2027, 3, 1), kiritimati) == utc(2027, 2, 28, 10)
    assert month_start(date(2027, 3, 1), honolulu) == utc(2027, 3, 1, 10)
    for zone in (kiritimati, honolulu, BERLIN, NEW_YORK):
        for month in (date(2027, 1, 1), date(2028, 3, 1), date(2027, 11, 1)):
            begins = month_start(month, zone)
            assert month_of(begins, zone) == month
            assert month_of(begins - timedelta(microseconds=1), zone) == date(
                month.year - (month.month == 1), (month.month - 2) % 12 + 1, 1
            )


def test_the_months_after_one_go_over_the_year():
    assert list(months_after(date(2027, 11, 1), date(2028, 2, 1))) == [
        date(2027, 12, 1),
        date(2028, 1, 1),
        date(2028, 2, 1),
    ]
