"""How big: as a figure needs it, or tiny, to see that everything works (`make bench QUICK=1`, and the tests)."""

import os

QUICK_MARK = "BENCH_QUICK"


def is_quick() -> bool:
    """Whether this is a try that says nothing about speed, and is not written to docs/benchmarks."""
    return bool(os.environ.get(QUICK_MARK))


def size(real: int, quick: int) -> int:
    return quick if is_quick() else real
