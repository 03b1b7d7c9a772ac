"""A process that was asked to stop: what is in hand is answered, and whoever comes anew is sent elsewhere.

From the signal on every new request is refused with 503, `Retry-After` and `Connection: close`, `/readyz` among them,
so that a proxy takes this process out. Who waits for an outcome is told at once how it stands, and open sockets are
closed with 1012 ("service restart"). Only LEAVING_SECONDS later does the server close its door: web/serve.py does so
for web, gunicorn.conf.py for live. What was in hand when the signal came is answered with `Connection: close` as well:
its connection may not live as long as it takes to ask again.
"""

import threading
from collections.abc import Callable

import structlog
from flask import Flask, request
from flask.wrappers import Response

from models.errors import UnavailableError
from web.envelope import fail
from web.rounds import rounds
from web.waiting import waiters

log = structlog.get_logger()

RETRY_AFTER_SECONDS = 1
# The process lives, and its last numbers count.
STILL_OPEN = frozenset({"/healthz", "/metrics"})

# A plain name: a signal's handler may take no lock, and under gevent it may not wait for anything.
_asked = False


def init_stopping(app: Flask) -> None:
    app.before_request(_refuse)
    app.after_request(_close_after_it)


def begin_to_stop(spawn: Callable[[Callable[[], None]], object]) -> None:
    """Called in the handler of the signal; `spawn` runs what it is given beside the handler and waits for nothing."""
    global _asked  # noqa: PLW0603 - a process stops once
    if not _asked:
        _asked = True
        spawn(_tell)


def is_stopping() -> bool:
    """Whether this process was asked to stop."""
    return _asked


def in_a_thread(do: Callable[[], None]) -> None:
    """How to `spawn` where threads are threads."""
    threading.Thread(target=do, name="stopping", daemon=True).start()


def _tell() -> None:
    log.info("web.stopping")
    waiters().leave()
    rounds().leave()


def _refuse() -> Response | None:
    if not _asked or request.path in STILL_OPEN:
        return None
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return fail(503, UnavailableError.code, "This process is being restarted; try again", headers=headers)


def _close_after_it(answer: Response) -> Response:
    """web's server passes this on; live's does not, and says it for itself (gunicorn.conf.py)."""
    if _asked and request.path not in STILL_OPEN:
        answer.headers["Connection"] = "close"
    return answer
