"""The one home of time: aware UTC datetimes inside, ISO 8601 with `Z` outside, epoch milliseconds in Redis.

No decision about a sale rests on a process's own clock. Admission is dated by Redis (`TIME`, in the gate) and
everything that happens under a sale's row lock by PostgreSQL; `now()` here serves logs, tokens and display.
"""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """This process's idea of the current time, aware, in UTC."""
    return datetime.now(UTC)


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since the epoch; `moment` must be aware."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """The aware UTC datetime of so many milliseconds since the epoch."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def to_iso(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and a `Z`, as every response shows a time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
