"""Staying at a line: a worker whose last turn was at the same sale waits for its next request there, for a moment.

Where buyers keep coming, a turn of its own for every wake-up (published by web, brought by the broker, begun by
Celery) costs more than what is settled in between. While a worker stays, the sale's awake flag is up, so nobody sends
one; the flag ends soon by itself, so a worker that dies meanwhile leaves the sale asleep for no longer than that, and
whoever leaves takes it down before the last look into the line.
"""

import time
from dataclasses import replace

from models import mailbox
from models.settle import SettleReport, settle_turn

# Another sale waits for as long at most.
STAY_SECONDS_MAX = 0.1
# How long an empty line is watched. A crowd that was just answered is back sooner.
WATCH_MS = 25
# Who comes together is settled together: so long after the first of several.
GATHER_SECONDS = 0.002


def settle_while_they_come(sale_id: int) -> SettleReport:
    """A turn at a line, and more of them for as long as requests come. Raises as `settle_turn` does."""
    end = time.monotonic() + STAY_SECONDS_MAX
    whole = last = settle_turn(sale_id)
    # Said once: the flag outlives the stay.
    announced = False
    while last.settled and not last.more and time.monotonic() < end:
        if not mailbox.watch(sale_id, WATCH_MS, announced=announced):
            break
        announced = True
        if last.settled > 1:
            time.sleep(GATHER_SECONDS)
        last = settle_turn(sale_id, stays=True)
        whole = _together(whole, last)
    return replace(whole, more=bool(mailbox.take_up(sale_id, 1)) or last.more)


def _together(before: SettleReport, turn: SettleReport) -> SettleReport:
    return replace(
        turn,
        settled=before.settled + turn.settled,
        confirmed=before.confirmed + turn.confirmed,
        reserved=before.reserved + turn.reserved,
        rejected=before.rejected + turn.rejected,
        remaining=before.remaining if turn.remaining is None else turn.remaining,
        milliseconds=before.milliseconds + turn.milliseconds,
        dedicated=turn.dedicated or before.dedicated,
    )
