"""Every request's id, and its one line in the log."""

import logging
import re
import time

import structlog
from flask import Flask, g, request
from flask.wrappers import Response

from models.logs import is_logged, name_lines
from models.names import request_name
from web.access import asks_gate
from web.auth import Identity
from web.traces import is_traced

log = structlog.get_logger()

HEADER = "X-Request-Id"
# An id from a proxy or a client is taken over if it cannot hurt a log or a header.
SANE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
# Asked every few seconds by machines.
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
# What the gate answers to a crowd: who got in stands in the line, who did not is counted there.
GATE_STATUSES = frozenset({201, 202, 409})


def init_request_log(app: Flask) -> None:
    """Registered first, so that everything after it logs with the request's id and counts in its time."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.began = time.perf_counter()
    asked = request.headers.get(HEADER, "")
    g.request_id = asked if SANE_ID.fullmatch(asked) else request_name()
    name_lines(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    route = request.url_rule.rule if request.url_rule else None
    level = logging.DEBUG if _is_quiet(route, response.status_code) else logging.INFO
    if not is_logged(level):
        return response
    caller = g.get("caller")
    log.log(
        level,
        "request",
        method=request.method,
        route=route,
        status=response.status_code,
        ms=round((time.perf_counter() - g.began) * 1000, 1),
        user=caller.user_id if isinstance(caller, Identity) else None,
    )
    return response


def _is_quiet(route: str | None, status: int) -> bool:
    """A client that names its request wants to find it again, and whoever looks at a trace its line."""
    if route in QUIET_ROUTES:
        return True
    if status not in GATE_STATUSES or HEADER in request.headers or is_traced():
        return False
    return asks_gate(request.endpoint or "")
