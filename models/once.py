"""One of a kind for a process: made at first use, by exactly one thread or greenlet."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

T = TypeVar("T")


def once(make: Callable[[], T]) -> Callable[[], T]:
    """Call `make` once and hand out what it made ever after.

    functools.cache would let two callers in at the same moment, and a process would have two of what may only be one:
    a hub whose listeners the other hub never tells.
    """
    lock = threading.RLock()
    made: list[T] = []

    @wraps(make)
    def get() -> T:
        if not made:
            with lock:
                if not made:
                    made.append(make())
        return made[0]

    return get
