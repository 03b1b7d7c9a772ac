"""Traces: the way of one purchase and how long each step of it took, told to a collector that speaks OTLP over HTTP.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set: then nothing of OpenTelemetry is even imported, so its imports stand in
the functions here. A span's place travels as a W3C traceparent (https://www.w3.org/TR/trace-context/): in the mailbox
entry from the gate to settle, in the news from settle to whoever waits. docs/tracing.md shows the way.
"""

import atexit
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from models.settings import settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind

TRACES_PATH = "/v1/traces"
# Spans that wait for the collector at most; what comes beyond them is lost, and nothing else is.
WAITING_MAX = 2_048
EXPORT_EVERY_MS = 500
# For one attempt at the collector with all of its repetitions. A process that stops waits for two of them at most: the
# one in hand, and one with everything else.
EXPORT_SECONDS_MAX = 1.5

Attributes = Mapping[str, str | int | float | bool]


def is_on() -> bool:
    return bool(settings().otel_exporter_otlp_endpoint)


class Spans:
    """The spans of this process, sent by a thread of their own. Make one a process, after its server has forked."""

    def __init__(self, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

        endpoint = settings().otel_exporter_otlp_endpoint.rstrip("/") + TRACES_PATH
        processor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS_MAX),
            max_queue_size=WAITING_MAX,
            schedule_delay_millis=EXPORT_EVERY_MS,
            # All that waits in one message: the library has no other bound for its last words.
            max_export_batch_size=WAITING_MAX,
        )
        # Which requests are traced is web's to choose (web/traces.py): whatever gets here is.
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": service, "service.namespace": "doorbuster"}),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(processor)
        atexit.register(provider.shutdown)
        self._tracer = provider.get_tracer("doorbuster")

    def begin(
        self,
        name: str,
        parent: str | None = None,
        *,
        start_ns: int | None = None,
        kind: "SpanKind | None" = None,
        links: Sequence["Span"] = (),
        attributes: Attributes | None = None,
    ) -> "Span":
        """A new span below the one that the traceparent `parent` names; None or nonsense begins a new trace.

        `start_ns` is in nanoseconds since the epoch, and now unless given. It is told when `end` is called on it.
        """
        from opentelemetry.trace import Link, SpanKind  # noqa: PLC0415

        return self._tracer.start_span(
            name,
            context=context_of(parent),
            kind=kind or SpanKind.INTERNAL,
            links=[Link(span.get_span_context()) for span in links],
            attributes=dict(attributes or {}),
            start_time=start_ns,
        )


def context_of(traceparent: str | None) -> "Context":
    """What lies below a traceparent; an empty one for None, and for whatever is none."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    if not isinstance(traceparent, str):
        return Context()
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, context=Context())


def traceparent_of(span: "Span") -> str:
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span, context_of(None)))
    return carrier["traceparent"]


def trace_id_of(span: "Span") -> str:
    """As collectors and logs write it: 32 hexadecimal digits."""
    return format(span.get_span_context().trace_id, "032x")
