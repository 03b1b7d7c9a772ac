"""A collector as OpenTelemetry's are: it takes what is posted to /v1/traces, and reads its protobuf."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

SECONDS_MAX = 120


@dataclass(frozen=True)
class Span:
    """One span as the collector got it; ids in hexadecimal, times in ns since the epoch."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    start_ns: int
    end_ns: int
    attributes: dict[str, str]
    links: tuple[tuple[str, str], ...]


class Collector:
    """The server, and every span that came."""

    def __init__(self, port: int = 0) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                collector.take(self.rfile.read(int(self.headers["Content-Length"])))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {each.key: each.value.string_value for each in group.resource.attributes}["service.name"]
            for scope in group.scope_spans:
                self.spans += (_read(service, span) for span in scope.spans)

    def of(self, trace: str) -> dict[str, Span]:
        """The spans of one trace, by their names."""
        return {span.name: span for span in list(self.spans) if span.trace == trace}

    def wait_for(self, trace: str, *names: str) -> dict[str, Span]:
        """The spans of one trace, once those of these names have come."""
        eventually(lambda: set(names) <= set(self.of(trace)), lambda: f"{names}: only {set(self.of(trace))}")
        return self.of(trace)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _read(service: str, span) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes={each.key: str(getattr(each.value, each.value.WhichOneof("value"))) for each in span.attributes},
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
    )


def eventually(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {SECONDS_MAX} s: {what()}")
        time.sleep(0.05)


def new_trace(*, sampled: bool = True) -> tuple[str, str]:
    """A trace id of a client, and the header that asks for it."""
    trace = secrets.token_hex(16)
    return trace, f"00-{trace}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"
