"""What came of a simulated crowd: who was told what, after how long, and which part was busy."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

CONFIRMED, REJECTED, SOLD_OUT, LINE_FULL, ADMITTED = "confirmed", "rejected", "sold out", "line full", "admitted"
# From this share of its time on, a part is what holds the others up.
BUSY = 0.9
# Nobody waits for it: it has those who listen, and leaves out what would come too late.
ASIDE = "live"


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment: seconds, how many wait at the door, in line, and how many know their outcome."""

    at: float
    door: int
    line: int
    told: int


@dataclass(slots=True)
class Outcome:
    """What came of a crowd. Waits are ticks from coming to knowing, by what they came to know."""

    tick_ms: float
    sent: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    waits: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    admitted: int = 0
    first_admitted: float = 0.0
    last_admitted: float = 0.0
    last_sold: float = 0.0
    last_told: float = 0.0
    last_heard: float = 0.0  # the last socket has the last change of the stock
    door_max: int = 0
    line_max: int = 0
    turns: int = 0  # of workers at lines
    in_system_ticks: int = 0  # the sum over all ticks of those who wait for anything
    busy: dict[str, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    @property
    def told(self) -> int:
        return sum(self.counts.values())

    @property
    def admitted_per_second(self) -> float:
        return self.admitted / max(self.last_admitted - self.first_admitted, self.tick_ms / 1000)

    @property
    def bottleneck(self) -> str:
        """What held the others up: a station or the cores of a pool; "none" where nothing did."""
        name = max((each for each in self.busy if each != ASIDE), key=lambda each: self.busy[each])
        return name if self.busy[name] >= BUSY else "none"

    def wait_ms(self, share: float, *outcomes: str) -> float:
        """The wait of this share of those with one of the outcomes, or of everybody, in milliseconds."""
        waits = sum((self.waits[name] for name in outcomes or list(self.waits)), Counter())
        rank, seen = share * sum(waits.values()), 0
        for ticks in sorted(waits):
            seen += waits[ticks]
            if seen >= rank:
                return ticks * self.tick_ms
        return 0.0
