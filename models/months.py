"""Zones and months: where a wall clock's time lies in UTC, and which calendar month a moment belongs to in a zone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from models.errors import InvalidError


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name, such as Europe/Berlin. Raises InvalidError (zone)."""
    # Asked of the list: ZoneInfo itself takes a name for a path, and fails in as many ways as paths do.
    if name not in _zone_names():
        raise InvalidError.field("zone", "must be an IANA time zone, such as Europe/Berlin")
    return ZoneInfo(name)


def instant_of(local: datetime, zone: ZoneInfo) -> datetime:
    """The UTC moment at which a zone's wall clock shows `local` (naive).

    As RFC 5545, section 3.3.5 has it: a time that occurs twice is its first, and one that does not occur is read with
    the offset from before the gap, so 02:30 on the night that springs forward is 03:30 in summer time.
    """
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def local_of(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the wall clock shows in a zone at a moment: naive."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def month_of(moment: datetime, zone: ZoneInfo) -> date:
    """The calendar month of a moment in a zone, as its first day."""
    return moment.astimezone(zone).date().replace(day=1)


def month_start(month: date, zone: ZoneInfo) -> datetime:
    """The UTC moment at which a month begins in a zone: 00:00 on the 1st, on its wall clock."""
    return instant_of(datetime(month.year, month.month, 1), zone)  # noqa: DTZ001 - a wall clock's time


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def months_after(month: date, through: date) -> Iterator[date]:
    """The months after `month`, up to and including `through`."""
    following = next_month(month)
    while following <= through:
        yield following
        following = next_month(following)
