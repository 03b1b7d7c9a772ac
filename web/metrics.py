"""`GET /metrics`, for Prometheus: never for the public.

With METRICS_TOKEN whoever shows it as a bearer token; without one, this machine alone, and nobody who came by a proxy.
Everybody else finds nothing here.
"""

import hmac

from flask import Blueprint, Flask, g, request
from flask.wrappers import Response
from prometheus_client import exposition

from models import metrics
from models.addresses import parse_address
from models.metrics_state import SharedState
from models.settings import settings
from web.envelope import fail

blueprint = Blueprint("metrics", __name__)

# What a proxy says of whom it speaks for.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")


def init_metrics(app: Flask) -> None:
    """Count what is answered, and the sockets that are open."""
    app.before_request(_open)
    app.after_request(_count)
    app.teardown_request(_close)


def _open() -> None:
    if getattr(request.url_rule, "websocket", False):
        g.counted_socket = True
        metrics.SOCKETS.inc()


def _count(response: Response) -> Response:
    metrics.answered(response.status_code)
    return response


def _close(_error: BaseException | None) -> None:
    if g.pop("counted_socket", False):
        metrics.SOCKETS.dec()


@blueprint.get("/metrics")
def tell() -> Response:
    """Everything that is counted, in Prometheus's text format."""
    if not _may_read():
        return fail(404, "NOT_FOUND", "Not found")
    metrics.flush()
    write, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
    registry = metrics.registry()
    registry.register(SharedState())
    return Response(write(registry), content_type=content_type)


def _may_read() -> bool:
    token = settings().metrics_token
    if token:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())
    peer = parse_address(request.remote_addr or "")
    return bool(peer and peer.is_loopback) and not any(name in request.headers for name in FORWARDED)
