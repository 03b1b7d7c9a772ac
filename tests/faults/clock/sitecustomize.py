"""Sets the clock of a process wrong: Python imports this at its start where PYTHONPATH leads here.

The file that FAULTS_CLOCK names holds the seconds by which the clock is ahead (negative: behind). Only the clock on the
wall is moved, with time-machine; what measures how long things take is not, as on a real machine. The product knows
nothing of it.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path


def _move() -> None:
    file = Path(os.environ.get("FAULTS_CLOCK", ""))
    seconds = float(file.read_text() or 0) if file.is_file() else 0.0
    if seconds:
        import time_machine  # noqa: PLC0415 - a process whose clock is right does without

        time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True).start()


_move()
