"""How a buyer tries again: not for ever, not at once, and not in step with everybody else."""

import random
import time

PAUSE_SECONDS_MAX = 2.0
# A pause is half to one and a half of what was planned, and what the shop asks for is drawn out by up to a half, so
# that a crowd which was sent away together does not come back as one.
JITTER = 0.5


class Patience:
    """One buyer's patience for one thing: so many seconds in all, with pauses that grow from `first` seconds."""

    def __init__(self, seconds: float, *, first: float) -> None:
        self._end = time.monotonic() + seconds
        self._pause = first

    def pause(self, at_least: float = 0.0) -> float | None:
        """Seconds until the next try, `at_least` what the shop asked for; None when patience is at its end."""
        left = self._end - time.monotonic()
        if left <= 0:
            return None
        grown = self._pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spread, not secrecy
        asked = at_least * random.uniform(1, 1 + JITTER)  # noqa: S311
        self._pause = min(self._pause * 2, PAUSE_SECONDS_MAX)
        return min(max(grown, asked), left)  # one last try at the very end, however long the shop said
