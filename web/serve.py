"""`python -m web.serve …`: granian with its own command line, that leaves before it stops.

granian closes its door the moment it is asked to stop: kept connections end between two requests, and whoever comes
then is turned away by the kernel. Here its workers hear of it first (SIGUSR1) and say so to whoever still asks, for
LEAVING_SECONDS; the last of them with the door closed (web/door.py). Only then does granian stop as it always does. A
second signal is not kept waiting.
"""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pkgutil import resolve_name
from typing import Any

from granian import cli
from granian.server import Server

from web.door import let_nobody_new_in
from web.leaving import DRAINING_SECONDS, LEAVING_SECONDS

LEAVE = signal.SIGUSR1


def load_and_listen(target: str) -> Any:
    """The application behind its front, in a worker's main thread, which is the one that may listen to signals."""
    application = resolve_name(target)
    # Not before: the process that watches over the workers loads nothing of the application.
    from web.front import Front  # noqa: PLC0415
    from web.stopping import begin_to_stop, in_a_thread  # noqa: PLC0415

    def leave() -> None:
        begin_to_stop(in_a_thread)
        _in(LEAVING_SECONDS - DRAINING_SECONDS, let_nobody_new_in)

    signal.signal(LEAVE, lambda *_: leave())
    return Front(application)


class LeavingServer(Server):  # type: ignore[misc, valid-type]
    """granian's server with a moment between the signal and the stop."""

    is_leaving = False

    def serve(self, *_: Any, **__: Any) -> None:
        # Until a worker has loaded the application, the signal must not end it.
        signal.signal(LEAVE, signal.SIG_IGN)
        super().serve(target_loader=load_and_listen)

    def signal_handler_interrupt(self, *args: Any, **options: Any) -> None:
        stop = partial(super().signal_handler_interrupt, *args, **options)
        if self.is_leaving:
            stop()
            return
        self.is_leaving = True
        for worker in self.wrks:
            os.kill(worker.inner.pid, LEAVE)
        _in(LEAVING_SECONDS, stop)


def _in(seconds: float, do: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    cli.Server = LeavingServer  # type: ignore[attr-defined]
    cli.entrypoint()  # type: ignore[no-untyped-call]
