"""What a crowd is told that knocks at a sale which is sold out: the gate's own words, repeated for a moment.

When the last unit is gone, thousands still ask, and each of them costs Redis as much as whoever was let in. So a
process that was told SOLD_OUT often in a short time says it by itself for REPEATED_SECONDS after each time that the
gate did, and asks again. A unit that comes back is so offered to a crowd a fifth of a second late at most, and to
anybody else at once: where few ask, the gate is asked every time.

Only SOLD_OUT, since no time has a say in it, and only of the same sale and quantity. Whoever names an Idempotency-Key
asks the gate: a retry has its first answer, whatever has become of the sale since.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from models.gate import GateAnswer
from models.once import once
from models.purchase import Reason
from models.refusals import count_more

log = structlog.get_logger()

REPEATED_SECONDS = 0.2
# So many who hear it within CROWD_SECONDS are a crowd.
CROWD = 50
CROWD_SECONDS = 1.0
# Pairs of a sale and a quantity that are remembered; the oldest gives way.
KNOWN_MAX = 256
FLUSH_SECONDS = 1.0
# What is said of whoever asks, and not of the sale.
PERSONAL = frozenset({"SEEN", "REVOKED", "RATE_LIMITED", "VELOCITY_REFUSED", Reason.LIMIT_EXCEEDED})


@dataclass(slots=True)
class _Refusal:
    """What the gate said, and how many heard it in the window that began then; moments by the monotonic clock."""

    answer: GateAnswer
    began_at: float
    heard: int = 0
    is_crowd: bool = False
    until: float = 0.0


class Crowd:
    """What this process was told of sales that are sold out, and how often it repeated it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` says the moment in seconds, and never goes back."""
        self._clock = clock
        self._known: dict[tuple[int, int], _Refusal] = {}
        self._repeated: Counter[int] = Counter()
        self._lock = threading.Lock()

    def answer_for(self, sale_id: int, quantity: int) -> GateAnswer | None:
        """What the gate said to others a moment ago; None for whoever has to ask it."""
        known = self._known.get((sale_id, quantity))
        if known is None or self._clock() >= known.until:
            return None
        with self._lock:
            known.heard += 1
            self._repeated[sale_id] += 1
        return known.answer

    def note(self, quantity: int, answer: GateAnswer) -> None:
        """What the gate said just now to somebody who asked for so many units."""
        pair = answer.sale_id, quantity
        if answer.code in PERSONAL:
            return
        if answer.code != Reason.SOLD_OUT:
            self._known.pop(pair, None)
            return
        moment = self._clock()
        with self._lock:
            known = self._known.get(pair) or self._begin(pair, answer, moment)
            passed = moment - known.began_at
            if passed > CROWD_SECONDS:
                known.is_crowd = known.heard >= CROWD and passed <= 2 * CROWD_SECONDS
                known.began_at, known.heard = moment, 0
            known.heard += 1
            if known.is_crowd or known.heard >= CROWD:
                known.until = moment + REPEATED_SECONDS
                _counter()

    def _begin(self, pair: tuple[int, int], answer: GateAnswer, moment: float) -> _Refusal:
        while len(self._known) >= KNOWN_MAX:
            self._known.pop(next(iter(self._known)))
        # Without what was found behind whoever was refused: it is not about the next one.
        known = _Refusal(GateAnswer(answer.sale_id, answer.code, answer.values, [], ()), moment)
        self._known[pair] = known
        return known

    def count(self) -> None:
        """Add what was repeated to the gate's own counts. What Redis could not be told stays counted here."""
        with self._lock:
            repeated, self._repeated = self._repeated, Counter()
        for sale_id, times in repeated.items():
            try:
                count_more(sale_id, Reason.SOLD_OUT, times)
            except RedisError as error:
                log.warning("crowd.uncounted", sale=sale_id, refusals=times, error=type(error).__name__)
                with self._lock:
                    self._repeated[sale_id] += times


@once
def crowd() -> Crowd:
    """The crowd before this process."""
    return Crowd()


@once
def _counter() -> threading.Thread:
    """Started with the first crowd, after a server has forked."""
    thread = threading.Thread(target=_count_for_ever, name="crowd", daemon=True)
    thread.start()
    return thread


def _count_for_ever() -> None:
    while True:
        time.sleep(FLUSH_SECONDS)
        crowd().count()
