"""The spans of a transaction of settle: one of the batch, and of each traced purchase in it how long it waited, its
settling and its telling. Made after the commit, from what was measured: a batch that is rolled back leaves none.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import structlog

from models.decide import Request
from models.logs import name_more
from models.once import once
from models.purchase import purchase_id
from models.record import PurchaseRecord
from models.tracing import Spans, is_on, trace_id_of, traceparent_of

log = structlog.get_logger()

# Traced purchases of one batch, beyond which the others are settled untraced: as many links as a span may have.
TRACED_MAX = 128
NS_PER_MS = 1_000_000
NS_PER_SECOND = 1_000_000_000

NOBODY: AbstractContextManager[Mapping[int, str]] = nullcontext({})


@once
def _spans() -> Spans:
    return Spans("doorbuster-worker")


def telling(
    sale_id: int, fresh: Sequence[Request], outcomes: Sequence[PurchaseRecord], seconds: float
) -> AbstractContextManager[Mapping[int, str]]:
    """For the block that tells of a committed batch, which took so many seconds: by ticket, the traceparent that the
    news carry. Empty where nothing is traced."""
    if not is_on():
        return NOBODY
    traced = {request.ticket: request for request in fresh if request.trace is not None}
    settled = [(traced[outcome.ticket], outcome) for outcome in outcomes if outcome.ticket in traced][:TRACED_MAX]
    return _telling(sale_id, settled, len(outcomes), seconds) if settled else NOBODY


@contextmanager
def _telling(
    sale_id: int, settled: Sequence[tuple[Request, PurchaseRecord]], size: int, seconds: float
) -> Iterator[Mapping[int, str]]:
    spans = _spans()
    committed_ns = time.time_ns()
    began_ns = committed_ns - int(seconds * NS_PER_SECOND)
    announcing = {}
    settling = []
    for request, outcome in settled:
        about = {"doorbuster.purchase": purchase_id(sale_id, request.ticket)}
        # Redis's clock; where it is ahead of ours, nobody waited.
        admitted_ns = min(request.admitted_ms * NS_PER_MS, began_ns)
        spans.begin("wait", request.trace, start_ns=admitted_ns, attributes=about).end(began_ns)
        settle = spans.begin(
            "settle",
            request.trace,
            start_ns=began_ns,
            attributes=about | {"doorbuster.outcome": outcome.status, "doorbuster.reason": outcome.reason or ""},
        )
        settle.end(committed_ns)
        settling.append(settle)
        announcing[request.ticket] = spans.begin("announce", traceparent_of(settle), start_ns=committed_ns)
        log.info(
            "settle.traced",
            sale=sale_id,
            ticket=request.ticket,
            outcome=outcome.status,
            trace_id=trace_id_of(settle),
        )
    about_batch = {"doorbuster.sale": sale_id, "doorbuster.requests": size}
    batch = spans.begin("settle batch", start_ns=began_ns, links=settling, attributes=about_batch)
    name_more(trace_id=trace_id_of(batch))
    try:
        yield {ticket: traceparent_of(span) for ticket, span in announcing.items()}
    finally:
        for span in (*announcing.values(), batch):
            span.end()
