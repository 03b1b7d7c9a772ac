"""gunicorn finds this file by itself: live leaves before it stops, as web does (web/serve.py)."""

import signal
from typing import Any

from web.leaving import LEAVING_SECONDS


def post_worker_init(worker: Any) -> None:
    """Put our own handler before gunicorn's, which closes the door within a second."""
    # Not before: a worker's gevent must be the first to load the rest.
    import gevent  # noqa: PLC0415

    from web.stopping import begin_to_stop  # noqa: PLC0415

    def leave(number: int, frame: Any) -> None:
        # Every answer from now on says `Connection: close`; before the first that is a refusal.
        worker.cfg.set("keepalive", 0)
        begin_to_stop(gevent.spawn)
        gevent.spawn_later(LEAVING_SECONDS, worker.handle_exit, number, frame)

    signal.signal(signal.SIGTERM, leave)
