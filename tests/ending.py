"""How a test ends the processes that it started."""

import subprocess
from contextlib import suppress

import psutil

KILLED_SECONDS_MAX = 5


def end(process: subprocess.Popen[bytes], seconds_max: float = 60) -> None:
    """Ask a process to end; kill it, with all that it started, if it has not within `seconds_max`. One that has ended
    is left alone."""
    process.terminate()
    try:
        process.wait(seconds_max)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait(KILLED_SECONDS_MAX)
