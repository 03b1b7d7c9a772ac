"""Recurrence rules: RFC 5545, section 3.3.10, read strictly and evaluated on the wall clock of a zone.

dateutil does the calendar's arithmetic. What is added here: values that cannot be are refused instead of being passed
over, a search for the next occurrence is bounded, and each local time is placed in its zone.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.rrule import DAILY, HOURLY, MINUTELY, MONTHLY, WEEKLY, YEARLY, rrule

from models.months import instant_of, local_of
from models.rule_text import Frequency, Parts, read_rule, refuse

# Years in which the calendar repeats every 28 years, the leap year 2000 in their midst.
FIRST_YEAR, LAST_YEAR = 2001, 2099
START_YEAR_MAX = 2070
CYCLE_YEARS = 28
# 400 years of the calendar are a whole number of weeks, and it repeats: 9999 is to dateutil what 1999 was.
FAR_YEARS = 8_000
FAR_END = 9_999
# No zone's clock jumps further than this at once.
GAP_MAX = timedelta(hours=3)
STEPS = {
    MINUTELY: timedelta(minutes=1),
    HOURLY: timedelta(hours=1),
    DAILY: timedelta(days=1),
    WEEKLY: timedelta(weeks=1),
}
# How far back the occurrence before a moment is looked for, nearest first.
LOOKS_BACK = tuple(timedelta(days=days) for days in (0.1, 2, 40, 370, 5 * 366, 29 * 366))


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A rule with its first occurrence and its zone; `last` is the wall-clock time after which nothing occurs."""

    freq: Frequency
    interval: int
    parts: Mapping[str, Any]
    starts: datetime
    zone: ZoneInfo
    last: datetime

    def runs_from(self, moment: datetime) -> Iterator[datetime]:
        """The occurrences at or after a moment as UTC, each once, in order; they end with the search's bound.

        Where the clock springs forward, two local times of a dense rule can be one moment: that is one run.
        """
        # Local times around a gap come out of order once they are placed, but never by more than the gap.
        pending: list[datetime] = []
        for local in self.locals_from(local_of(moment, self.zone) - GAP_MAX):
            instant = instant_of(local, self.zone)
            while pending and pending[0] < instant - GAP_MAX:
                yield heapq.heappop(pending)
            if instant >= moment and instant not in pending:
                heapq.heappush(pending, instant)
        while pending:
            yield heapq.heappop(pending)

    def next_run(self, after: datetime) -> datetime | None:
        """The first occurrence later than a moment, as UTC."""
        return next(self.next_runs(after), None)

    def next_runs(self, after: datetime, limit: int = 1) -> Iterator[datetime]:
        return islice(self.runs_from(after + timedelta(microseconds=1)), limit)

    def run_at_or_before(self, moment: datetime) -> datetime | None:
        """The last occurrence that is not later than a moment, as UTC."""
        first = instant_of(self.starts, self.zone)
        for back in LOOKS_BACK:
            *_, found = (None, *takewhile(lambda run: run <= moment, self.runs_from(moment - back)))
            if found is not None or moment - back < first:
                return found
        return None

    def locals_from(self, low: datetime) -> Iterator[datetime]:
        """The occurrences on the wall clock at or after `low` (naive), to the search's bound.

        dateutil searches an occurrence up to the year 9999, which takes it minutes where there is none. So the search
        is moved to the end of its calendar: to a year of the same weekdays and leap days that has between one and two
        cycles of 28 years left.
        """
        anchor = self._anchor(low)
        years = FAR_YEARS
        while anchor.year + years > FAR_END - CYCLE_YEARS:
            years -= CYCLE_YEARS
        start = anchor.replace(year=anchor.year + years)
        try:
            for far in rrule(self.freq, dtstart=start, interval=self.interval, **self.parts):
                local = far.replace(year=far.year - years)
                if local > self.last:
                    return
                if local >= max(low, self.starts):
                    yield local
        except (ValueError, OverflowError):
            # The calendar's end, or a combination that dateutil finds empty on its way: nothing more occurs.
            return

    def _anchor(self, low: datetime) -> datetime:
        """A start from which the rule has the same occurrences from `low` on, so that a search needs no history.

        It lies a whole interval before `low`, a multiple of the interval after the real start.
        """
        if self.freq in STEPS:
            step = STEPS[self.freq] * self.interval
            return self.starts + step * max((low - self.starts) // step - 1, 0)
        months = (low.year - self.starts.year) * 12 + low.month - self.starts.month
        span = self.interval * (12 if self.freq == YEARLY else 1)
        skipped = span * max(months // span - 1, 0)
        if skipped == 0:
            return self.starts
        index = (self.starts.month - 1 if self.freq == MONTHLY else 0) + skipped
        return datetime(self.starts.year + index // 12, index % 12 + 1, 1)  # noqa: DTZ001 - a wall clock's time


@lru_cache(maxsize=1024)
def recurrence_of(rule: str, starts: datetime, zone: ZoneInfo) -> Recurrence:
    """The recurrence of a rule's text (an RRULE value without DTSTART), its first local time and its zone.

    Raises InvalidError (rule, startsLocal) for what RFC 5545 does not allow, for more than one run a minute, and for a
    rule that never occurs.
    """
    if not FIRST_YEAR <= starts.year <= START_YEAR_MAX:
        raise refuse(f"must be between the years {FIRST_YEAR} and {START_YEAR_MAX}", "startsLocal")
    text = read_rule(rule)
    unbounded = Recurrence(
        freq=text.freq,
        interval=text.interval,
        parts=MappingProxyType(_with_defaults(text, starts)),
        starts=starts,
        zone=zone,
        last=datetime(LAST_YEAR, 12, 31, 23, 59, 59),  # noqa: DTZ001 - a wall clock's time
    )
    try:
        rrule(text.freq, dtstart=starts, interval=text.interval, **unbounded.parts)
    except ValueError as error:
        raise refuse("never occurs") from error
    bounded = replace(unbounded, last=_last(unbounded, text))
    if next(bounded.locals_from(starts), None) is None:
        raise refuse("never occurs")
    return bounded


def _with_defaults(text: Parts, starts: datetime) -> dict[str, Any]:
    """The rule's parts with all that it leaves to its start said out loud, so that the search may begin elsewhere."""
    parts = dict(text.by)
    if not parts.keys() & {"byweekno", "byyearday", "bymonthday", "byweekday"}:
        if text.freq == YEARLY:
            parts.setdefault("bymonth", (starts.month,))
        if text.freq in (YEARLY, MONTHLY):
            parts["bymonthday"] = (starts.day,)
        if text.freq == WEEKLY:
            parts["byweekday"] = (starts.weekday(),)
    parts.setdefault("bysecond", (starts.second,))
    if text.freq != MINUTELY:
        parts.setdefault("byminute", (starts.minute,))
    if text.freq not in (MINUTELY, HOURLY):
        parts.setdefault("byhour", (starts.hour,))
    return parts


def _last(endless: Recurrence, text: Parts) -> datetime:
    if text.count is not None:
        *_, last = (endless.last, *islice(endless.locals_from(endless.starts), text.count))
        return last
    if text.until is None:
        return endless.last
    until = text.until
    return min(endless.last, local_of(until, endless.zone) if until.tzinfo is UTC else until)
