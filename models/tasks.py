"""Names of tasks and queues: what web asks for, what worker does, what beat sends. A test holds them together."""

from datetime import timedelta

SETTLE = "doorbuster.settle"
TICK = "doorbuster.tick"
OPEN_DUE_SALES = "doorbuster.open_due_sales"
CLOSE_DUE_SALES = "doorbuster.close_due_sales"
EXPIRE_HOLDS = "doorbuster.expire_holds"
SWEEP_LINES = "doorbuster.sweep_lines"
RECOUNT_AUDITS = "doorbuster.recount_audits"
PRUNE_ABUSE = "doorbuster.prune_abuse"
PLAN_SERIES = "doorbuster.plan_series"
RESET_MONTHS = "doorbuster.reset_months"
TELL_GENERATIONS = "doorbuster.tell_generations"
KEEP_RANGES = "doorbuster.keep_ranges"

SETTLEMENTS_QUEUE = "settlements"
CHORES_QUEUE = "chores"

# What a tick does, in this order.
EVERY_TICK = (OPEN_DUE_SALES, CLOSE_DUE_SALES, EXPIRE_HOLDS, SWEEP_LINES)
# How often beat sends each chore. Every one is safe if late, early, doubled or skipped.
EVERY = {
    TICK: timedelta(seconds=1),
    PLAN_SERIES: timedelta(seconds=5),
    RESET_MONTHS: timedelta(seconds=10),
    TELL_GENERATIONS: timedelta(seconds=5),
    RECOUNT_AUDITS: timedelta(minutes=1),
    KEEP_RANGES: timedelta(minutes=1),
    PRUNE_ABUSE: timedelta(hours=1),
}


def settle_queue(sale_id: int, *, dedicated: bool) -> str:
    """The queue that a sale's wake-ups travel on."""
    return f"sale.{sale_id}" if dedicated else SETTLEMENTS_QUEUE
