"""Settling: take the waiting requests of a sale in ticket order, a batch at a time, and tell what became of them.

While PostgreSQL writes one batch, the one before is told and the one after is read, in a thread beside it: neither
needs the sale's lock, and nothing is told before it is committed.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass

from models import mailbox, metrics
from models.announce import announce
from models.batch import SettledBatch, commit_batch
from models.decide import SaleTerms
from models.once import once
from models.outcomes import Waiting
from models.purchase import Status
from models.settings import settings
from models.settle_traces import telling
from models.taking_over import BusyError


@dataclass(frozen=True, slots=True)
class SettleReport:
    """What one turn at a sale did, as operators read it in Flower."""

    sale: int
    settled: int = 0
    confirmed: int = 0
    reserved: int = 0
    rejected: int = 0
    # Units left; None where there was nothing to settle, or another worker did it.
    remaining: int | None = None
    milliseconds: int = 0
    more: bool = False
    dedicated: bool = False

    def __str__(self) -> str:
        """In a line, for whoever looks at the task."""
        left = "" if self.remaining is None else f", {self.remaining} left"
        return (
            f"sale {self.sale}: {self.settled} settled ({self.confirmed} confirmed, {self.reserved} reserved, "
            f"{self.rejected} rejected) in {self.milliseconds} ms{left}"
        )

    def as_dict(self) -> dict[str, int | bool | None]:
        return asdict(self)


def settle_turn(
    sale_id: int, *, batches: int | None = None, batch_max: int | None = None, stays: bool = False
) -> SettleReport:
    """Settle up to so many batches of up to so many requests each, by default as many as the settings say.

    `more` says whether the line has more. About an empty line PostgreSQL is not asked. Where another worker has the
    sale, it looks into the line once more instead. Whoever `stays` looks again behind the last commit in any case:
    nobody has to ask for it. Raises what PostgreSQL or Redis raise when they are away: the batch in hand is then rolled
    back whole, or committed and told later.
    """
    known = settings()
    started = time.monotonic()
    size = batch_max or known.settle_batch_max
    first = Waiting(mailbox.take_up(sale_id, size, stays=stays))
    if not first.requests:
        return SettleReport(sale=sale_id)
    counts: Counter[Status] = Counter()
    batch: SettledBatch | None = None
    for batch in _batches(sale_id, size, first, batches or known.settle_batches_per_turn):
        counts.update(batch.counts())
    return SettleReport(
        sale=sale_id,
        settled=counts.total(),
        confirmed=counts[Status.CONFIRMED],
        reserved=counts[Status.RESERVED],
        rejected=counts[Status.REJECTED],
        remaining=batch.snapshot.remaining if batch else None,
        milliseconds=round((time.monotonic() - started) * 1000),
        more=batch is not None and (batch.more or (not stays and mailbox.was_asked_for_another_turn(sale_id))),
        dedicated=batch is not None and batch.snapshot.dedicated,
    )


def _batches(sale_id: int, size: int, first: Waiting, count: int) -> Iterator[SettledBatch]:
    """Up to so many batches, each as soon as it is committed: the last is told before it comes, any other beside the
    next. There are no more from where on another worker has the sale."""
    untold: SettledBatch | None = None
    ahead: Waiting | None = first
    for left in reversed(range(count)):
        beside = _Beside(sale_id, untold, reads_on=size if left else 0)
        try:
            batch = _commit(sale_id, size, ahead, beside)
        except BusyError:
            beside.finish()
            return
        except BaseException:
            with suppress(Exception):
                beside.finish()
            raise
        ahead = beside.finish()
        # Whoever reads from the front of the line must find it trimmed: it is told first, unless more was read behind.
        untold = batch if ahead else None
        if untold is None:
            _tell(batch)
        yield batch
        if not batch.more:
            return


def _commit(sale_id: int, size: int, ahead: Waiting | None, beside: "_Beside") -> SettledBatch:
    """One batch, committed. Raises BusyError where another worker has the sale, and will look once more."""
    try:
        return commit_batch(sale_id, size, ahead, beside.start)
    except BusyError:
        # Who has it finds this behind its commit; where that was a moment ago, the sale is free now.
        mailbox.ask_for_another_turn(sale_id)
        return commit_batch(sale_id, size, ahead, beside.start)


class _Beside:
    """What is done while PostgreSQL writes a batch: the one before is told, and the one after is read, and decided for
    the case that nobody changes the sale in between."""

    def __init__(self, sale_id: int, untold: SettledBatch | None, *, reads_on: int) -> None:
        """`reads_on` is how many requests to read ahead; 0 for none."""
        self._sale_id = sale_id
        self._untold = untold
        self._reads_on = reads_on
        self._started: Future[Waiting | None] | None = None

    def start(self, fresh: Waiting, behind: SaleTerms | None) -> None:
        """Begin, beside the batch of these requests, which leaves the sale like this if all goes well. A batch that is
        not full has nothing behind it."""
        reads_on = self._reads_on if len(fresh.requests) == self._reads_on else 0
        if self._untold is not None or reads_on:
            last = fresh.requests[-1].ticket
            self._started = _thread().submit(copy_context().run, self._do, last, reads_on, behind)

    def finish(self) -> Waiting | None:
        """Wait until it is done; returns what was read ahead, or None where nothing was, or was looked for."""
        return self._started.result() if self._started else self._do(0, 0, None)

    def _do(self, last: int, reads_on: int, terms: SaleTerms | None) -> Waiting | None:
        if self._untold is not None:
            _tell(self._untold)
        requests = mailbox.read(self._sale_id, reads_on, behind=last) if reads_on else []
        if not requests:
            return None
        ahead = Waiting(requests)
        # All that can be written of them before the sale is locked again is written here.
        _ = ahead.columns
        if terms is not None:
            ahead.guess(terms)
        return ahead


@once
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside-settle")


def _tell(batch: SettledBatch) -> None:
    """Tell everyone of what was committed. May run twice."""
    records = batch.settlement.records() if batch.settlement else []
    sale_id = batch.snapshot.sale_id
    if records:
        metrics.settled(records, batch.seconds)
    if batch.waiting.requests:
        with telling(sale_id, batch.fresh.requests, records, batch.seconds) as traces:
            announce(
                batch.snapshot,
                [*batch.told_again, *records],
                strays=batch.strays,
                pace_per_second=len(records) / batch.seconds if records else None,
                read_through=batch.waiting.requests[-1],
                traces=traces,
            )
