"""What `make run` says on the terminal, for as long as there is one."""

import os
import sys


def say(text: str) -> None:
    """Print and flush. A terminal that was closed, or a pipe that nobody reads, is no reason to stop selling."""
    try:
        print(text, flush=True)
    except OSError:
        # Whatever is still buffered would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
