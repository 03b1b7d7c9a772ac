"""Making and changing series: each change in one transaction under the series' row lock, planned again at once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.announce import tell
from models.database import database_now, transaction
from models.errors import ConflictError, InvalidError, NotFoundError
from models.months import month_of, zone_of
from models.product import Product
from models.recurrence import recurrence_of
from models.runs import lock_product, lock_series, withdraw_runs
from models.series import ProductMonth, Series, SeriesMonth, SeriesReset, SeriesRun
from models.series_plan import Planned, plan_locked, recurrence_for
from models.settings import settings
from models.snapshot import SaleSnapshot

# Fields that say when runs are: a change of one makes the series another from that moment on.
TIMES = frozenset({"rule", "starts_local", "zone"})


class SeriesNotFoundError(NotFoundError):
    code = "SERIES_NOT_FOUND"
    message = "Series not found"


class SeriesEndedError(ConflictError):
    code = "SERIES_ENDED"
    message = "The series has ended"


@dataclass(frozen=True, slots=True)
class NewSeries:
    """What a series is made from: `starts_local` is naive, the first occurrence on the wall clock of `zone`.

    The price is Decimal in the product's currency, None for the product's own; other Nones mean no such bound, but for
    `stock_per_run` and `hold_seconds`, where they take the default.
    """

    product_id: int
    title: str
    rule: str
    starts_local: datetime
    zone: str
    description: str | None = None
    stock_per_run: int | None = None
    flash_price: Decimal | None = None
    max_per_purchase: int | None = None
    max_per_user: int | None = None
    hold_seconds: int | None = None
    duration_seconds: int | None = None
    runs_per_month: int | None = None
    max_per_user_month: int | None = None


@dataclass(frozen=True, slots=True)
class Month:
    """What a series has had of a month (its first day, in the series' zone), and its product of its allotment."""

    month: date
    runs: int
    drawn: int


def clock() -> datetime:
    """PostgreSQL's time, aware UTC: what planning goes by where nobody moves the clock."""
    with transaction() as session:
        return database_now(session)


def create_series(new: NewSeries, *, now: datetime) -> int:
    """Make a series, schedule its first run, and return its id. Occurrences before `now` are not made up for.

    Raises NotFoundError (PRODUCT_NOT_FOUND) and InvalidError with the field: also for a rule without any occurrence
    from now on.
    """
    values = {each.name: getattr(new, each.name) for each in fields(new)}
    values["stock_per_run"] = new.stock_per_run or settings().sale_stock_default
    values["hold_seconds"] = new.hold_seconds or settings().hold_seconds_default
    with _telling() as (session, changed):
        product = session.get(Product, new.product_id)
        if product is None or product.archived_at is not None:
            raise NotFoundError("Product not found", code="PRODUCT_NOT_FOUND")
        series = Series(**values, planned_from=now, created_at=now)
        _check(series, product, now)
        session.add(series)
        session.flush()
        changed.extend(plan_locked(session, series, now, Planned()))
    return series.id


def patch_series(series_id: int, changes: Mapping[str, Any], *, now: datetime) -> None:
    """Change the named fields of a series (names of Series). Runs that have started stay as they are.

    Raises SeriesNotFoundError, SeriesEndedError, and InvalidError with the field.
    """
    with _changing(series_id, now) as (session, series):
        for name, value in changes.items():
            setattr(series, name, value)
        if changes.keys() & TIMES:
            series.planned_from = now
        _check(series, lock_product(session, series.product_id), now)


def pause_series(series_id: int, *, now: datetime) -> None:
    """Hold the series' next runs back; one that is on goes on. Raises SeriesNotFoundError, SeriesEndedError."""
    with _changing(series_id, now) as (_, series):
        series.paused = True


def resume_series(series_id: int, *, now: datetime) -> None:
    """Plan again. A run that should be on at this moment starts. Raises SeriesNotFoundError, SeriesEndedError."""
    with _changing(series_id, now) as (_, series):
        series.paused = False


def end_series(series_id: int, *, now: datetime) -> None:
    """End a series for good; a run that is on goes on, and past ones are history. Raises as pause_series does."""
    with _changing(series_id, now) as (_, series):
        series.ended_at = now


@contextmanager
def _changing(series_id: int, now: datetime) -> Iterator[tuple[Session, Series]]:
    """Lock a series, let the block change it, take back what was scheduled by the old terms, and plan by the new."""
    with _telling() as (session, changed):
        series = lock_series(session, series_id)
        if series is None:
            raise SeriesNotFoundError
        if series.ended_at is not None:
            raise SeriesEndedError
        yield session, series
        series.updated_at = now
        lock_product(session, series.product_id)
        changed.extend(withdraw_runs(session, series, now))
        if not series.paused and series.ended_at is None:
            changed.extend(plan_locked(session, series, now, Planned()))


@contextmanager
def _telling() -> Iterator[tuple[Session, list[Any]]]:
    """A transaction, and the sales that it changed, which everyone is told of after the commit."""
    changed: list[Any] = []
    with transaction() as session:
        yield session, changed
        session.flush()
        snapshots = [SaleSnapshot.of(sale) for sale in changed]
    for snapshot in snapshots:
        tell(snapshot)


def _check(series: Series, product: Product, now: datetime) -> None:
    zone = zone_of(series.zone)
    if recurrence_of(series.rule, series.starts_local, zone).next_run(now) is None:
        raise InvalidError.field("rule", "has no occurrence from now on")
    if series.flash_price is not None:
        if product.price is None:
            raise InvalidError.field("flashPrice", "the product has no price to be below")
        if series.flash_price >= product.price:
            raise InvalidError.field("flashPrice", f"must be below the product's price of {product.price}")


def get_series(series_id: int) -> Series:
    """Raises SeriesNotFoundError."""
    with transaction() as session:
        series = session.get(Series, series_id)
    if series is None:
        raise SeriesNotFoundError
    return series


def list_series(page: int, limit: int, product_id: int | None = None) -> tuple[list[Series], int]:
    """One page of the series, newest first, ended ones too, and how many there are."""
    wanted = select(Series) if product_id is None else select(Series).where(Series.product_id == product_id)
    return _page(wanted, Series.id.desc(), page, limit)


def list_runs(series_id: int, page: int, limit: int) -> tuple[list[SeriesRun], int]:
    """One page of what became of a series' occurrences, latest first. Raises SeriesNotFoundError."""
    get_series(series_id)
    return _page(select(SeriesRun).where(SeriesRun.series_id == series_id), SeriesRun.run_at.desc(), page, limit)


def list_resets(series_id: int, page: int, limit: int) -> tuple[list[SeriesReset], int]:
    """One page of a series' monthly resets, latest first. Raises SeriesNotFoundError."""
    get_series(series_id)
    return _page(select(SeriesReset).where(SeriesReset.series_id == series_id), SeriesReset.month.desc(), page, limit)


def _page(wanted: Any, order: Any, page: int, limit: int) -> tuple[list[Any], int]:
    with transaction() as session:
        total = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
        return list(session.scalars(wanted.order_by(order).limit(limit).offset((page - 1) * limit))), total


def next_runs(series: Series, now: datetime, limit: int) -> list[datetime]:
    """The next occurrences by the rule, as UTC; none of a series that is paused or has ended."""
    if series.paused or series.ended_at is not None:
        return []
    return list(recurrence_for(series).next_runs(now, limit))


def month_so_far(series: Series, now: datetime) -> Month:
    """What this month, in the series' zone, has come to."""
    month = month_of(now, zone_of(series.zone))
    with transaction() as session:
        runs = session.get(SeriesMonth, (series.id, month))
        drawn = session.get(ProductMonth, (series.product_id, month))
    return Month(month, runs.runs if runs else 0, drawn.drawn if drawn else 0)
