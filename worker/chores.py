"""Scheduled work, as beat sends it: thin tasks around models.schedule, each safe to run twice, late or never."""

from collections.abc import Callable
from typing import cast

import structlog
from redis.exceptions import ResponseError

from models import metrics, rediskeys, tasks
from models.audit import audit_sale
from models.fraud import prune_fraud_records
from models.generations import tell_again
from models.holds import expire_due_holds
from models.ip_rule import prune_ip_rules
from models.redisclient import REDIS_AWAY, redis_client
from models.refusals import keep_refusals
from models.sale_ranges import keep_ranges
from models.schedule import close_due_sales, current_sale_ids, open_due_sales, sweep_lines
from models.series_plan import plan_series
from models.series_resets import reset_months
from models.series_rules import clock
from worker.app import app
from worker.settling import wake

log = structlog.get_logger()


@app.task(name=tasks.TICK)
def tick() -> None:
    """What is due every second, in one message, which costs more than most of what it asks for.

    Each step is tried whatever became of those before it; the first failure is then this task's. A tick that arrives
    here also proves that beat, broker and chores are alive.
    """
    failures: list[Exception] = []
    for name, step in (("beat", beat_arrived), *((name, app.tasks[name]) for name in tasks.EVERY_TICK)):
        try:
            cast(Callable[[], object], step)()
        except Exception as why:
            log.exception("tick.step_failed", step=name)
            failures.append(why)
    if failures:
        raise failures[0]


def beat_arrived() -> None:
    """Have everybody know that ticks come. They do though Redis is away, or the shard of it that is told."""
    try:
        redis_client().set(rediskeys.BEAT_HEARTBEAT, "1", ex=rediskeys.BEAT_HEARTBEAT_SECONDS)
    except REDIS_AWAY as error:
        log.warning("heartbeat.untold", worker="beat", error=type(error).__name__)


@app.task(name=tasks.OPEN_DUE_SALES)
def open_due() -> int:
    """Open what is due. This and the next three are steps of a tick, and anybody may send one by itself."""
    opened = _told("sales.opened", open_due_sales())
    # An older beat, beside which newer chores run during an upgrade, proves by this alone that it is there.
    beat_arrived()
    return opened


@app.task(name=tasks.CLOSE_DUE_SALES)
def close_due() -> int:
    return _told("sales.closed", close_due_sales())


@app.task(name=tasks.EXPIRE_HOLDS)
def expire_holds() -> int:
    return _told("holds.expired", expire_due_holds())


@app.task(name=tasks.SWEEP_LINES)
def sweep() -> int:
    """Wake every sale whose mailbox waits though no wake-up is on its way.

    Always on the shared queue: whoever should have come has not, so a dedicated worker that is away or was never
    started is stood in for.
    """
    woken = 0
    for line in sweep_lines():
        if wake(line.sale_id):
            woken += 1
            log.warning("line.swept", sale=line.sale_id, waited_ms=line.waited_ms)
    return woken


@app.task(name=tasks.PLAN_SERIES)
def plan() -> int:
    """Make the runs of series that are due or next."""
    planned = plan_series(clock())
    for run_at, reason in planned.skipped:
        log.debug("series.skipped", run_at=run_at.isoformat(), reason=str(reason))
    return _told("series.planned", len(planned.sale_ids))


@app.task(name=tasks.RESET_MONTHS)
def reset() -> int:
    """Write down which series' months have begun."""
    return _told("series.months_reset", reset_months(clock()))


@app.task(name=tasks.TELL_GENERATIONS)
def tell_generations() -> int:
    """Tell Redis again whose tokens are refused, in case it was away or came back from an older copy."""
    return tell_again()


@app.task(name=tasks.RECOUNT_AUDITS)
def recount_audits() -> int:
    """Recount the current sales; a disagreement is logged as an error and never mended.

    Refusals, which the gate counts in memory alone, are kept on the way, unless Redis, or a shard of it, is away.
    """
    disagreements, is_redis_there = 0, True
    for sale_id in current_sale_ids():
        try:
            if is_redis_there:
                keep_refusals(sale_id)
        except ResponseError as error:
            log.warning("refusals.spoilt", sale=sale_id, error=str(error))
        except REDIS_AWAY as error:
            # Not asked again for each sale: they are kept a minute later.
            is_redis_there = False
            log.warning("refusals.not_kept", sale=sale_id, error=type(error).__name__)
        audit = audit_sale(sale_id)
        if not audit.agrees:
            disagreements += 1
            metrics.DISAGREEMENTS.inc()
            wrong = [check.name for check in audit.checks if not check.agrees]
            log.error("audit.disagrees", sale=sale_id, checks=wrong)
    return disagreements


@app.task(name=tasks.KEEP_RANGES)
def keep_ranges_ready() -> int:
    """Begin a range of sales with the month, and make the next ones before they are needed."""
    return _told("ranges.made", keep_ranges())


@app.task(name=tasks.PRUNE_ABUSE)
def prune_abuse() -> int:
    """Forget old fraud records, and the rules for addresses that ran out long ago."""
    return _told("abuse.pruned", prune_fraud_records() + prune_ip_rules())


def _told(event: str, count: int) -> int:
    if count:
        log.info(event, count=count)
    return count
