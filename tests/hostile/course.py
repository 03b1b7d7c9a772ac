"""One course of noise: so many cases of every kind, drawn from a seed, with a sound buyer in between."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.hostile import http_noise, raw_noise, redis_noise, socket_noise
from tests.hostile.described_noise import hear_described
from tests.hostile.drawing import drawn
from tests.hostile.house import House
from tests.hostile.oracle import Noted

# Cases of one sale whose keys are spoilt; then another takes its place.
KEYS_A_SALE = 25
ENTRIES_A_LINE = 50
SELLS_AGAIN_SECONDS = 240

Act = Callable[[House, Any, Noted], None]
Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of noise: its share of all cases, in hundredths, and how so many of it are made."""

    name: str
    percent: int
    hear: Callable[[House, int, int, Noted, Tick], None]


def _plain(strategy: Callable[[House], st.SearchStrategy[Any]], act: Act) -> Callable[..., None]:
    def hear(house: House, count: int, number: int, noted: Noted, tick: Tick) -> None:
        def one(case: Any) -> None:
            act(house, case, noted)
            tick()

        drawn(house, strategy(house), count, number, one)

    return hear


def _hear_entries(house: House, count: int, number: int, noted: Noted, tick: Tick) -> None:
    """Line by line: entries of every shape, then a sound request behind them that has to be answered."""
    for sale_id, some in _portions(house, count, ENTRIES_A_LINE):

        def one(case: redis_noise.Entry, sale_id: int = sale_id) -> None:
            redis_noise.post_entry(house, sale_id, case, noted)
            tick()

        drawn(house, redis_noise.entries(), some, number + sale_id, one)
        noted.complain("mailbox entry", f"sale {sale_id}, seed {number + sale_id}", _stuck(house, sale_id))


def _hear_keys(house: House, count: int, number: int, noted: Noted, tick: Tick) -> None:
    """Sale by sale: keys of every wrong type, then a sound request that has to be answered."""
    for sale_id, some in _portions(house, count, KEYS_A_SALE):

        def one(case: redis_noise.Spoilt, sale_id: int = sale_id) -> None:
            redis_noise.spoil_key(house, sale_id, case, noted)
            redis_noise.tidy(sale_id)
            tick()

        drawn(house, redis_noise.spoilt_keys(sale_id), some, number + sale_id, one)
        noted.complain("spoilt key", f"sale {sale_id}, seed {number + sale_id}", _stuck(house, sale_id))


def _portions(house: House, count: int, most: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, most):
        yield house.new_sale(), min(most, count - start)


def _stuck(house: House, sale_id: int) -> list[str]:
    """Whether a sale no longer works off its line, or no longer sells."""
    wrong = [] if redis_noise.settles(sale_id) else ["the line is not worked off"]
    end = time.monotonic() + SELLS_AGAIN_SECONDS
    last, key = "", secrets.token_urlsafe(12)
    while time.monotonic() < end:
        sold, last = house.try_to_buy(sale_id, key)
        if sold:
            return wrong
        time.sleep(0.5)
    return [*wrong, f"the sale sells no more: {last}"]


KINDS = (
    Kind("http", 38, _plain(http_noise.requests_at, http_noise.make_noise)),
    Kind("described http", 15, hear_described),
    Kind("raw bytes", 10, _plain(raw_noise.bytes_at, raw_noise.make_noise)),
    Kind("socket", 15, _plain(socket_noise.talks_at, socket_noise.make_noise)),
    Kind("queue message", 10, _plain(lambda _house: redis_noise.messages(), redis_noise.send_message)),
    Kind("mailbox entry", 9, _hear_entries),
    Kind("spoilt key", 3, _hear_keys),
)
# Of the whole, before memory is first looked at.
WARM_UP_SHARE = 0.1


def run_course(house: House, cases: int, number: int, noted: Noted, tick: Tick = lambda: None) -> None:
    """Make this many cases of noise in all, a tenth of every kind as the warm-up; `noted` is written to."""
    for share, offset in ((WARM_UP_SHARE, 0), (1 - WARM_UP_SHARE, 1)):
        counts = {kind: max(1, round(cases * share * kind.percent / 100)) for kind in KINDS}
        # One kind after the other: Hypothesis reads the source of its strategies, which Python 3.11 cannot do in two
        # threads at once.
        for kind, count in counts.items():
            kind.hear(house, count, number + offset, noted, tick)
            house.buy_soundly()
        if offset == 0:
            house.watch.warm()
    noted.complain("the house", f"seed {number}", house.wrong_at_the_end())
