"""While the stack runs: a line on the terminal for each part that died and is back."""

import subprocess
import time
from collections.abc import Callable

from models.clock import now
from ops.errors import OpsError
from ops.state import DataDir
from ops.supervisor import Supervisor
from ops.terminal import say

POLL_SECONDS = 1.0
QUIET_SECONDS = 30  # a part that dies again and again is worth a line now and then, not one a second


def watch(supervisor: Supervisor, data_dir: DataDir, restarted: Callable[[], bool] = lambda: False) -> int:
    """Tell of every restart until the supervisor itself ends; returns its exit status.

    `restarted` is called between two looks: True if it has started parts anew on purpose, which is not told again.
    """
    known: dict[str, int] = {}
    told_at: dict[str, float] = {}
    while True:
        try:
            return supervisor.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        if restarted():
            known, told_at = {}, {}
        try:
            running = supervisor.process_ids()
        except OpsError:
            continue  # it is on its way out, and the wait above will say so
        for name, process_id in running.items():
            came_back = known.get(name, process_id) != process_id
            if came_back and time.monotonic() - told_at.get(name, -QUIET_SECONDS) >= QUIET_SECONDS:
                told_at[name] = time.monotonic()
                say(f"{now():%H:%M:%S} {name} died and was started again; see {data_dir.log(name)}")
        known |= running
