"""gunicorn finds this file by itself: live leaves before it stops, as web does (web/serve.py)."""

import signal
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from web.leaving import DRAINING_SECONDS, LEAVING_SECONDS


def post_worker_init(worker: Any) -> None:
    """Put our own handler before gunicorn's, which closes the door within a second."""
    # Not before: a worker's gevent must be the first to load the rest.
    import gevent  # noqa: PLC0415

    from web.door import let_nobody_new_in  # noqa: PLC0415
    from web.hub import hub  # noqa: PLC0415
    from web.readiness import get_ready  # noqa: PLC0415
    from web.stopping import begin_to_stop, is_stopping  # noqa: PLC0415

    def leave(number: int, frame: Any) -> None:
        begin_to_stop(gevent.spawn)
        gevent.spawn_later(LEAVING_SECONDS - DRAINING_SECONDS, let_nobody_new_in)
        gevent.spawn_later(LEAVING_SECONDS, worker.handle_exit, number, frame)

    worker.cfg.set("pre_request", partial(_end_with_it, is_stopping))
    signal.signal(signal.SIGTERM, leave)
    # Or the first outcome of a first socket would be in the news before anybody here reads them.
    hub()
    gevent.spawn(get_ready)


def _end_with_it(is_stopping: Callable[[], bool], _: Any, request: Any) -> None:
    """Have the connection end with this request if the process is leaving when it is answered.

    gunicorn asks when it writes the answer's head, and again later: what stands in the head must stay true. A keepalive
    of 0 would end, without a word, the connections whose last answer promised to keep them.
    """
    asked_for_it = request.should_close
    request.should_close = cache(lambda: is_stopping() or asked_for_it())
