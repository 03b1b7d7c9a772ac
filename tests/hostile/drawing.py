"""Cases drawn from a seed by Hypothesis: the same ones for the same seed, with a sound buyer in between."""

from collections.abc import Callable
from itertools import count as numbers
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.hostile.house import House

# How often the sound buyer comes by.
BUYER_EVERY = 200

_heard = numbers(1)


def drawn(house: House, strategy: st.SearchStrategy[Any], count: int, number: int, act: Callable[[Any], None]) -> None:
    """Do `act` with so many cases of a strategy, drawn from the seed `number`."""

    @seed(number)
    @hypothesis_settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def hear(case: Any) -> None:
        act(case)
        if next(_heard) % BUYER_EVERY == 0:
            house.buy_soundly()

    hear()
