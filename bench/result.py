"""What a benchmark is, and what it finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured: its value in each round, in the result's unit. The first row is the baseline."""

    name: str
    rounds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A table of rows, each to be read against the first. `notes` say what was held constant, and how it was."""

    title: str
    unit: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    servers: dict[str, str] = field(default_factory=dict)  # versions of what was measured against


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`run` takes the number of rounds."""

    name: str
    about: str
    run: Callable[[int], Result]
