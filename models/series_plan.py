"""Planning: a series' next occurrence stands ready as a sale of its own, so that it starts to the millisecond.

Beat may call this late, early, doubled, or not for a week. Only the next occurrence is scheduled ahead, and one that
should be running now is made if its time is not over; what else was missed is not made up for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import exists, not_, select
from sqlalchemy.orm import Session

from models.announce import tell
from models.database import transaction
from models.errors import DomainError
from models.months import zone_of
from models.product import Product
from models.recurrence import Recurrence, recurrence_of
from models.runs import Occurrence, SkippedError, lock_product, lock_series, make_room, make_run, record_run
from models.sale import FlashSale
from models.series import RunOutcome, Series, SeriesRun, SkipReason
from models.snapshot import SaleSnapshot

log = structlog.get_logger()


@dataclass(slots=True)
class Planned:
    """What one planning did: the sales that it made, and the occurrences that it left out, with why."""

    sale_ids: list[int] = field(default_factory=list)
    skipped: list[tuple[datetime, SkipReason]] = field(default_factory=list)


def plan_series(now: datetime) -> Planned:
    """Plan every series that has nothing scheduled after `now` (aware UTC), each in a transaction of its own."""
    whole = Planned()
    with transaction() as session:
        ahead = exists().where(FlashSale.series_id == Series.id, FlashSale.run_at > now)
        idle = select(Series.id).where(Series.ended_at.is_(None), not_(Series.paused), not_(ahead))
        series_ids = session.scalars(idle.order_by(Series.id)).all()
    for series_id in series_ids:
        try:
            planned = plan_one(series_id, now)
        except DomainError as error:
            # A zone that the zone database has dropped, say: the other series go on.
            log.warning("series.unplannable", series=series_id, code=error.code, reason=error.message)
            continue
        whole.sale_ids += planned.sale_ids
        whole.skipped += planned.skipped
    return whole


def plan_one(series_id: int, now: datetime) -> Planned:
    """Plan one series; nothing where another planner is at it. Raises InvalidError for a zone or rule gone bad."""
    planned = Planned()
    with transaction() as session:
        series = lock_series(session, series_id, skip_locked=True)
        if series is None or series.paused or series.ended_at is not None:
            return planned
        changed = plan_locked(session, series, now, planned)
        snapshots = [SaleSnapshot.of(sale) for sale in changed]
    for snapshot in snapshots:
        tell(snapshot)
    return planned


def plan_locked(session: Session, series: Series, now: datetime, planned: Planned) -> list[FlashSale]:
    """Plan a series whose row is locked; notes in `planned` what it did, and returns the sales to tell of."""
    changed: list[FlashSale] = []
    product: Product | None = None
    for wanted in _wanted(session, series, now):
        product = product or lock_product(session, series.product_id)
        try:
            with session.begin_nested():
                moved = make_room(session, series, wanted.run_at, now) if wanted.run_at > now else []
                sale = make_run(session, series, product, wanted, now)
        except SkippedError as skip:
            record_run(session, series, wanted, now, skipped=skip.reason)
            planned.skipped.append((wanted.run_at, skip.reason))
            continue
        changed += [*moved, sale]
        planned.sale_ids.append(sale.id)
    return changed


def ends_of(series: Series, starts_at: datetime, following: datetime | None) -> datetime | None:
    """When a run that starts then is over: after its time, and when the next begins at the latest."""
    ends = [] if following is None else [following]
    if series.duration_seconds is not None:
        ends.append(starts_at + timedelta(seconds=series.duration_seconds))
    return min(ends, default=None)


def recurrence_for(series: Series) -> Recurrence:
    return recurrence_of(series.rule, series.starts_local, zone_of(series.zone))


def _wanted(session: Session, series: Series, now: datetime) -> Iterator[Occurrence]:
    """The run that should be on now, if nobody decided about it yet, and the next one, unless it stands ready."""
    rule = recurrence_for(series)
    current, following = rule.run_at_or_before(now), rule.next_run(now)
    if current is not None and current >= series.planned_from:
        ends_at = ends_of(series, current, following)
        decided = _is(session, series, current, RunOutcome.MADE, RunOutcome.SKIPPED)
        if (ends_at is None or ends_at > now) and not decided:
            yield Occurrence(current, ends_at)
    # One that was left out is tried again until its start: the other sale may be over, the allotment raised.
    if (
        following is not None
        and following >= series.planned_from
        and not _is(session, series, following, RunOutcome.MADE)
    ):
        yield Occurrence(following, ends_of(series, following, rule.next_run(following)))


def _is(session: Session, series: Series, run_at: datetime, *outcomes: RunOutcome) -> bool:
    run = session.get(SeriesRun, (series.id, run_at), populate_existing=True)
    return run is not None and run.outcome in outcomes
