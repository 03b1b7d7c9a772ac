"""What a seed stands for: which faults and when, which sales, who buys what. The same seed is always the same plan."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

RUSH_SECONDS = 4.0
SALES_MAX = 3
BUYERS_MIN, BUYERS_MAX = 120, 220
# How many seeds have a second fault beside their first.
SECOND_FAULT_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class SalePlan:
    """A sale; times are seconds from the beginning of the rush."""

    stock: int
    opens_in: float = 0.0
    lasts: float | None = None
    hold_seconds: int = 600
    max_per_user: int | None = None


@dataclass(frozen=True, slots=True)
class AskPlan:
    """A request: which sale, when, what, and what becomes of its hold."""

    sale: int
    at: float
    kind: str
    quantity: int
    has_key: bool
    then: str | None
    listens: bool
    is_again: bool  # by a buyer who asked before


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    faults: tuple[tuple[str, float], ...]  # name, seconds from the beginning
    sales: tuple[SalePlan, ...]
    asks: tuple[AskPlan, ...]


def make_plan(seed: int, names: Sequence[str], beside: Sequence[str], only: str | None = None) -> Plan:
    """The plan of a seed: its first fault is `names[seed % len(names)]` (or `only`); some have one of `beside` too."""
    rng = random.Random(seed)
    faults = [(only or names[seed % len(names)], rng.uniform(0.4, 2.0))]
    if only is None and rng.random() < SECOND_FAULT_SHARE:
        faults.append((rng.choice([name for name in beside if name != faults[0][0]]), rng.uniform(0.4, 3.0)))
    sales = tuple(_sale(rng, number) for number in range(rng.randint(2, SALES_MAX)))
    asks = tuple(_ask(rng, len(sales)) for _ in range(rng.randint(BUYERS_MIN, BUYERS_MAX)))
    return Plan(seed, tuple(faults), sales, asks)


def _sale(rng: random.Random, number: int) -> SalePlan:
    """The first sale outlives the rush; the others may open late, end early, or limit what a buyer may have."""
    if number == 0:
        return SalePlan(stock=rng.randint(60, 300))
    return SalePlan(
        stock=rng.randint(10, 150),
        opens_in=rng.choice((0.0, 0.0, rng.uniform(0.5, 2.0))),
        lasts=rng.choice((None, None, rng.uniform(3.0, 6.0))),
        hold_seconds=rng.choice((600, 600, 4)),
        max_per_user=rng.choice((None, None, 2)),
    )


def _ask(rng: random.Random, sales: int) -> AskPlan:
    kind = "reservation" if rng.random() < 0.3 else "purchase"
    listens = rng.random() < 0.1
    return AskPlan(
        sale=rng.randrange(sales),
        at=rng.uniform(0.0, RUSH_SECONDS),
        kind=kind,
        quantity=rng.choice((1, 1, 1, 2, 3)),
        has_key=rng.random() < 0.85,
        then=rng.choice((None, "checkout", "cancel")) if kind == "reservation" else None,
        listens=listens,
        is_again=not listens and rng.random() < 0.1,
    )
