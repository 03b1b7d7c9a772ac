"""How a test ends the processes that it started."""

import subprocess

KILLED_SECONDS_MAX = 5


def end(process: subprocess.Popen[bytes], seconds_max: float = 60) -> None:
    """Ask a process to end, and kill it if it has not within `seconds_max`. One that has ended is left alone."""
    process.terminate()
    try:
        process.wait(seconds_max)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(KILLED_SECONDS_MAX)
