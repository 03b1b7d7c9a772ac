"""The text of a recurrence rule (RFC 5545, section 3.3.10), part by part, before anything is computed from it."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn

from dateutil.rrule import DAILY, HOURLY, MINUTELY, MONTHLY, WEEKLY, YEARLY, weekday

from models.errors import InvalidError

RULE_LENGTH_MAX = 500
INTERVAL_MAX = 1_000
COUNT_MAX = 10_000
# dateutil's numbers, from YEARLY to MINUTELY.
Frequency = Literal[0, 1, 2, 3, 4, 5]
FREQUENCIES: dict[str, Frequency] = {
    "YEARLY": YEARLY,
    "MONTHLY": MONTHLY,
    "WEEKLY": WEEKLY,
    "DAILY": DAILY,
    "HOURLY": HOURLY,
    "MINUTELY": MINUTELY,
}
WEEKDAYS = {"MO": 0, "TU": 1, "WE": 2, "TH": 3, "FR": 4, "SA": 5, "SU": 6}
UNTIL_FORMS = {
    r"[0-9]{8}T[0-9]{6}Z": "%Y%m%dT%H%M%SZ",
    r"[0-9]{8}T[0-9]{6}": "%Y%m%dT%H%M%S",
    r"[0-9]{8}": "%Y%m%d",
}
# Each list of numbers: dateutil's name for it, its bounds, and whether it may count from the end.
LISTS = {
    "BYMONTH": ("bymonth", 1, 12, False),
    "BYMONTHDAY": ("bymonthday", 1, 31, True),
    "BYYEARDAY": ("byyearday", 1, 366, True),
    "BYWEEKNO": ("byweekno", 1, 53, True),
    "BYHOUR": ("byhour", 0, 23, False),
    "BYMINUTE": ("byminute", 0, 59, False),
    "BYSECOND": ("bysecond", 0, 59, False),
    "BYSETPOS": ("bysetpos", 1, 366, True),
}
DAY_PARTS = frozenset({"bymonth", "bymonthday", "byyearday", "byweekno", "byweekday"})
# RFC 5545's table of parts that a frequency cannot have ("N/A").
NOT_WITH = {
    "BYWEEKNO": (MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY),
    "BYYEARDAY": (MONTHLY, WEEKLY, DAILY),
    "BYMONTHDAY": (WEEKLY,),
}


@dataclass(slots=True)
class Parts:
    """What a rule says. `by` holds its lists under dateutil's names; `until` is UTC, or naive where it is local."""

    freq: Frequency = YEARLY
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    by: dict[str, Any] = field(default_factory=dict)


def refuse(why: str, name: str = "rule") -> InvalidError:
    return InvalidError.field(name, why)


def read_rule(text: str) -> Parts:
    """The parts of an RRULE value, such as FREQ=MONTHLY;BYDAY=1FR. Raises InvalidError (rule)."""
    if not 1 <= len(text) <= RULE_LENGTH_MAX:
        raise refuse(f"must have 1 to {RULE_LENGTH_MAX} characters")
    if not re.fullmatch(r"[A-Za-z0-9=;,+-]+", text):
        raise refuse("must be an RRULE of RFC 5545 and nothing else, such as FREQ=WEEKLY;BYDAY=FR")
    pairs = [pair.partition("=") for pair in text.upper().split(";")]
    names = [name for name, _, _ in pairs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise refuse(f"{repeated or 'a part'} is there twice")
    parts = Parts()
    for name, _, value in pairs:
        READERS.get(name, _refuse_unknown)(parts, name, value)
    _check_together(parts, set(names))
    return parts


def _check_together(parts: Parts, names: set[str]) -> None:
    if "FREQ" not in names:
        raise refuse("FREQ is missing")
    if {"COUNT", "UNTIL"} <= names:
        raise refuse("COUNT and UNTIL exclude each other")
    for name, frequencies in NOT_WITH.items():
        if name in names and parts.freq in frequencies:
            raise refuse(f"{name} cannot be used with this FREQ")
    if "BYSETPOS" in names and not any(name.startswith("BY") and name != "BYSETPOS" for name in names):
        raise refuse("BYSETPOS needs another BY… part")
    if any(day.n for day in parts.by.get("byweekday", ())) and (
        parts.freq not in (MONTHLY, YEARLY) or "BYWEEKNO" in names
    ):
        raise refuse("BYDAY takes numbers only with FREQ=MONTHLY, or FREQ=YEARLY without BYWEEKNO")
    if parts.freq == MINUTELY and parts.by.keys() & DAY_PARTS:
        raise refuse("FREQ=MINUTELY cannot choose days: use FREQ=DAILY with BYHOUR and BYMINUTE")


def _read_freq(parts: Parts, _name: str, value: str) -> None:
    if value == "SECONDLY":
        raise refuse("a run a minute is the most: FREQ=SECONDLY is more")
    if value not in FREQUENCIES:
        raise refuse(f"FREQ must be one of {', '.join(FREQUENCIES)}")
    parts.freq = FREQUENCIES[value]


def _read_interval(parts: Parts, name: str, value: str) -> None:
    parts.interval = _number(name, value, 1, INTERVAL_MAX)


def _read_count(parts: Parts, name: str, value: str) -> None:
    parts.count = _number(name, value, 1, COUNT_MAX)


def _read_until(parts: Parts, _name: str, value: str) -> None:
    for pattern, form in UNTIL_FORMS.items():
        if re.fullmatch(pattern, value, re.ASCII):
            with suppress(ValueError):
                until = datetime.strptime(value, form)  # noqa: DTZ007 - a wall clock's time, unless it ends with Z
                if value.endswith("Z"):
                    parts.until = until.replace(tzinfo=UTC)
                else:
                    # A day is meant whole.
                    parts.until = until if "T" in value else until.replace(hour=23, minute=59, second=59)
                return
    raise refuse("UNTIL must be a day or a time, such as 20271231 or 20271231T235959Z")


def _read_wkst(parts: Parts, _name: str, value: str) -> None:
    if value not in WEEKDAYS:
        raise refuse("WKST must be a weekday, such as MO")
    parts.by["wkst"] = WEEKDAYS[value]


def _read_days(parts: Parts, _name: str, value: str) -> None:
    days = []
    for each in value.split(","):
        match = re.fullmatch(r"([+-]?)([0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)", each, re.ASCII)
        if not match or (match[1] and not match[2]):
            raise refuse("BYDAY must list weekdays, such as MO,FR or 1FR or -1SU")
        number = _number("BYDAY", match[2], 1, 53) if match[2] else None
        days.append(weekday(WEEKDAYS[match[3]], -number if number and match[1] == "-" else number))
    parts.by["byweekday"] = tuple(days)


def _read_list(parts: Parts, name: str, value: str) -> None:
    inner, least, most, from_the_end = LISTS[name]
    numbers = []
    for each in value.split(","):
        sign, digits = (each[0], each[1:]) if each[:1] in ("+", "-") and from_the_end else ("+", each)
        number = _number(name, digits, least, most)
        numbers.append(-number if sign == "-" else number)
    if name == "BYSECOND" and len(set(numbers)) > 1:
        raise refuse("a run a minute is the most: BYSECOND takes one number")
    parts.by[inner] = tuple(sorted(set(numbers)))


def _number(name: str, digits: str, least: int, most: int) -> int:
    number = int(digits) if re.fullmatch(r"[0-9]{1,9}", digits, re.ASCII) else -1
    if not least <= number <= most:
        raise refuse(f"{name} must be between {least} and {most}")
    return number


def _refuse_unknown(_parts: Parts, name: str, _value: str) -> NoReturn:
    if name in ("DTSTART", "TZID"):
        raise refuse(f"{name} does not belong in the rule: startsLocal and zone say it")
    raise refuse(f"{name[:20] or 'an empty part'} is no part of a rule")


READERS: dict[str, Callable[[Parts, str, str], None]] = {
    "FREQ": _read_freq,
    "INTERVAL": _read_interval,
    "COUNT": _read_count,
    "UNTIL": _read_until,
    "WKST": _read_wkst,
    "BYDAY": _read_days,
    **dict.fromkeys(LISTS, _read_list),
}
