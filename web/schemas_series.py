"""Bodies, queries and answers of series, for validation and for the API's description."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from models.rule_text import RULE_LENGTH_MAX
from models.sales import STOCK_MAX
from web.fields import Id, LongText, Price, Title
from web.schemas import Body, PageQuery, PathIds, View

YEAR_SECONDS = 366 * 86_400
RUNS_MAX = 50_000
LOCAL_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?$"


def read_local(value: object) -> datetime:
    """A wall clock's time, naive. Raises ValueError for one with an offset: the zone is a field of its own."""
    try:
        local = datetime.fromisoformat(value) if isinstance(value, str) and "T" in value else None
    except ValueError:
        local = None
    if local is None or local.microsecond:
        raise ValueError("must be a time on the wall clock, such as 2026-11-27T18:00:00")
    if local.tzinfo is not None:
        raise ValueError("must have no offset: zone says where the clock hangs")
    return local


LocalTime = Annotated[
    datetime, BeforeValidator(read_local), WithJsonSchema({"type": "string", "pattern": LOCAL_PATTERN})
]
Rule = Annotated[
    str,
    StringConstraints(min_length=1, max_length=RULE_LENGTH_MAX),
    Field(description="an RRULE of RFC 5545 without DTSTART, such as FREQ=MONTHLY;BYDAY=1FR"),
]
Zone = Annotated[
    str, StringConstraints(min_length=1, max_length=100), Field(description="an IANA time zone, such as Europe/Berlin")
]
Units = Annotated[int, Field(ge=1, le=STOCK_MAX)]
Duration = Annotated[
    int, Field(ge=1, le=YEAR_SECONDS, description="null: until sold out, or until the next occurrence")
]
Runs = Annotated[int, Field(ge=1, le=RUNS_MAX)]
Hold = Annotated[int, Field(ge=1, le=86_400)]


class SeriesBody(Body):
    """A series to be made. `startsLocal` is its first occurrence, on the wall clock of `zone`."""

    product_id: Id
    title: Title
    description: LongText | None = None
    rule: Rule
    starts_local: LocalTime
    zone: Zone
    stock_per_run: Units | None = None
    flash_price: Price | None = Field(default=None, description="null: the product's own price")
    max_per_purchase: Units | None = None
    max_per_user: Units | None = None
    hold_seconds: Hold | None = None
    duration_seconds: Duration | None = None
    runs_per_month: Runs | None = None
    max_per_user_month: Units | None = Field(default=None, description="what one buyer may have of a month's runs")


class SeriesChanges(Body):
    """Only the named fields change; null takes a bound away. A product cannot be exchanged."""

    title: Title | None = None
    description: LongText | None = None
    rule: Rule | None = None
    starts_local: LocalTime | None = None
    zone: Zone | None = None
    stock_per_run: Units | None = None
    flash_price: Price | None = None
    max_per_purchase: Units | None = None
    max_per_user: Units | None = None
    hold_seconds: Hold | None = None
    duration_seconds: Duration | None = None
    runs_per_month: Runs | None = None
    max_per_user_month: Units | None = None


# Fields that a PATCH may set to null.
NULLABLE = frozenset(
    {
        "description",
        "flash_price",
        "max_per_purchase",
        "max_per_user",
        "duration_seconds",
        "runs_per_month",
        "max_per_user_month",
    }
)


class SeriesPath(PathIds):
    series_id: int


class SeriesQuery(PageQuery):
    product_id: int | None = Field(default=None, ge=1, le=2**63 - 1)


class MonthView(View):
    """What the month has come to so far. `month` is its first day, in the series' zone."""

    month: str
    starts_at: str
    ends_at: str
    runs: int
    runs_per_month: int | None
    drawn: int = Field(description="units that runs drew from the product's monthly allotment, those ahead included")


class SeriesView(View):
    """A series; `nextRuns` are UTC, by its rule: one may still be left out, which its runs then say."""

    id: str
    product_id: str
    title: str
    description: str | None
    rule: str
    starts_local: str
    zone: str
    stock_per_run: int
    flash_price: float | None
    max_per_purchase: int | None
    max_per_user: int | None
    hold_seconds: int
    duration_seconds: int | None
    runs_per_month: int | None
    max_per_user_month: int | None
    status: Literal["ACTIVE", "PAUSED", "ENDED"]
    ended_at: str | None
    next_runs: list[str]
    this_month: MonthView
    created_at: str
    updated_at: str
    server_time: str


class RunView(View):
    """What became of an occurrence; `reason` says why one was left out."""

    run_at: str
    month: str
    outcome: Literal["made", "skipped", "withdrawn"]
    reason: str | None
    flash_sale_id: str | None
    stock: int
    by_hand: bool
    decided_at: str


class ResetView(View):
    """A month that began at `at`, and what the one before had come to."""

    month: str
    at: str
    noticed_at: str
    runs_before: int
    drawn_before: int
    buyers_before: int
    units_before: int
