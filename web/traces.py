"""Which requests for units are traced, and web's own spans of them: accept, gate, and deliver, the last step of all.

A client asks to be traced with a `traceparent` whose sampled flag is set (W3C Trace Context); of the others
TRACES_SHARE are. Either way a process begins no more than TRACES_PER_SECOND_MAX: the header is anybody's to send.
"""

import random
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from flask import Flask, g, request
from flask.wrappers import Response

from models.logs import name_more
from models.once import once
from models.purchase import purchase_id
from models.record import PurchaseRecord
from models.runtime import on_gevent
from models.settings import settings
from models.tracing import Spans, context_of, is_on, trace_id_of, traceparent_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span

HEADER = "traceparent"
R = TypeVar("R", PurchaseRecord, PurchaseRecord | None)


@once
def _spans() -> Spans:
    return Spans("doorbuster-live" if on_gevent() else "doorbuster-web")


class Allowance:
    """At most so many a second, and as many at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = self._left = float(per_second)
        self._counted_at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            moment = time.monotonic()
            self._left = min(self._per_second, self._left + (moment - self._counted_at) * self._per_second)
            self._counted_at = moment
            if self._left < 1:
                return False
            self._left -= 1
            return True


@once
def _allowance() -> Allowance:
    return Allowance(settings().traces_per_second_max)


def init_traces(app: Flask) -> None:
    """Where traces are off, no request ever meets any of this."""
    if is_on():
        app.before_request(_note_begin)
        app.after_request(_end)


def _note_begin() -> None:
    g.began_ns = time.time_ns()


def is_traced() -> bool:
    """Whether the request in hand is."""
    return "trace" in g


class RequestTrace:
    """A request for units on its way to the gate: `accept` is all of it, `gate` the trip to Redis.

    What becomes of the purchase lies below `gate`, whose place `traceparent` names.
    """

    def __init__(self, sale_id: int, parent: str | None) -> None:
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        self.sale_id = sale_id
        self.accept = _spans().begin(
            "accept",
            parent,
            start_ns=g.began_ns,
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": request.method,
                "http.route": request.url_rule.rule if request.url_rule else "",
                "doorbuster.request_id": g.request_id,
                "doorbuster.sale": sale_id,
            },
        )
        self.gate: Span = _spans().begin("gate", traceparent_of(self.accept), kind=SpanKind.PRODUCER)
        self.traceparent = traceparent_of(self.gate)

    def answered(self, code: str, ticket: int | None) -> None:
        """The gate said so."""
        self.gate.set_attribute("doorbuster.answer", code)
        if ticket is not None:
            self.accept.set_attribute("doorbuster.purchase", purchase_id(self.sale_id, ticket))
        self.gate.end()


def begin_at_gate(sale_id: int) -> RequestTrace | None:
    """The trace of the request in hand, which is about to ask the gate; None for those that are not traced."""
    if not is_on():
        return None
    parent = request.headers.get(HEADER)
    if not (_is_asked_for(parent) and _allowance().take()):
        return None
    g.trace = trace = RequestTrace(sale_id, parent)
    name_more(trace_id=trace_id_of(trace.accept))
    return trace


def _is_asked_for(parent: str | None) -> bool:
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    asked = get_current_span(context_of(parent)).get_span_context()
    # Whoever comes with a trace of their own has chosen already.
    return asked.trace_flags.sampled if asked.is_valid else random.random() < settings().traces_share  # noqa: S311


def note_outcome(record: R) -> R:
    """The outcome that the request in hand was waiting for, heard just now: `deliver` is from here to its answer.

    What was looked up in PostgreSQL, since the news of it were missed, came with no trace; the request may have one.
    """
    if is_on() and record is not None:
        trace = record.trace or (g.trace.traceparent if is_traced() else None)
        if trace is not None:
            g.delivering = record._replace(trace=trace), time.time_ns()
    return record


def _end(response: Response) -> Response:
    record, heard_ns = g.pop("delivering", (None, 0))
    if record is not None:
        delivered(record, heard_ns, "http")
    trace: RequestTrace | None = g.get("trace")
    if trace is not None:
        trace.accept.set_attribute("http.response.status_code", response.status_code)
        if trace.gate.is_recording():
            # The gate was never heard.
            trace.gate.end()
        trace.accept.end()
    return response


def delivered(record: PurchaseRecord, since_ns: int, way: str) -> None:
    """A traced outcome has left for its buyer by `way` (http or socket), who was told of it from `since_ns` on."""
    if is_on():
        about = {"doorbuster.purchase": purchase_id(record.sale_id, record.ticket), "doorbuster.way": way}
        _spans().begin("deliver", record.trace, start_ns=since_ns, attributes=about).end()
