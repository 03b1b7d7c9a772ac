"""A server that is there and says nothing."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    """Its process is stopped for the block; the kernel goes on taking what is sent to it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
