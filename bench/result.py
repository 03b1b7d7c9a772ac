"""What a benchmark is, and what it finds."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured: its value in each round, in the table's unit."""

    name: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one unit, each to be read against the first, which is the baseline."""

    title: str
    unit: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to reach, as it was set before anything was built. One of the two bounds is given."""

    text: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        if self.at_least is not None:
            return self.measured >= self.at_least
        return self.at_most is None or self.measured <= self.at_most

    @property
    def wanted(self) -> str:
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """Tables, and what they come to. `notes` say what was held constant, how it was, and whether the counts agreed."""

    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    targets: Sequence[Target] = ()
    servers: dict[str, str] = field(default_factory=dict)  # versions of what was measured against


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`run` takes the number of rounds. `minutes` is about how long it takes with five of them."""

    name: str
    about: str
    run: Callable[[int], Result]
    minutes: float = 1.0
