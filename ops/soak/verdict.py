"""Flat or not: a test that one odd sample cannot sway, stated in one place.

The first quarter is warming up and does not count. Over the rest, the slope is Theil and Sen's: the median of the
slopes between all pairs of samples. What it makes of the whole run is the growth. Something *grows* if its growth is
more than a tenth of its median and more than a floor that is worth nobody's sleep, and if Kendall's tau says that it
went up steadily (0.5 and more: of two samples, the later is the larger three times out of four) and not in one step.

What a purchase leaves in PostgreSQL and Redis is meant to stay: there the bytes for each settled request are bounded.
"""

from dataclasses import dataclass
from itertools import combinations
from statistics import median

from ops.soak.probe import CONNECTIONS, FILES, KEPT, MEMORY, MIB, THREADS, UNITS, Samples

WARM_UP_SHARE = 0.25
GROWTH_SHARE_MAX = 0.10
# Growth below this is nothing, whatever its share: a pool that fills up after the warm-up is no leak.
FLOORS = {MEMORY: 8.0, FILES: 32.0, THREADS: 16.0, CONNECTIONS: 32.0}
# A session of PostgreSQL keeps the catalogue and the plans of what it was asked, so this is room for caches that fill.
# It is an estimate: in two minutes thirteen sessions grew by 11 MiB together, and had not stopped. A run of half an
# hour has to show that they do; lower this to what it shows.
POSTGRES_MEMORY_FLOOR = 64.0
# Shown and not judged: a session of PostgreSQL keeps open what it has touched, up to max_files_per_process.
NOT_JUDGED = {("postgres", FILES)}
STEADY_TAU = 0.5
# A row with its indexes and its log; an Idempotency-Key for a day, a place in the line for a moment.
BYTES_FOR_A_REQUEST_MAX = {"PostgreSQL": 4_000, "Redis": 2_000}
# Below so many settled requests what the servers keep for themselves hides what a request leaves.
REQUESTS_MIN = 2_000
SAMPLES_MIN = 8
# Pairs grow with the square; more samples than this say nothing new.
SAMPLES_MAX = 400


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: who and what, the median, the growth over the run after the warm-up, and the verdict.

    `growth` is in `unit`; where `per_request` it is the bytes that one settled request leaves.
    """

    who: str
    what: str
    unit: str
    median: float
    growth: float
    tau: float
    grows: bool
    per_request: bool = False


def judge(samples: Samples) -> list[Line]:
    """A line for everything that was measured. Raises ValueError for a run that was too short to say anything."""
    start = int(len(samples.at_seconds) * WARM_UP_SHARE)
    if len(samples.at_seconds) - start < SAMPLES_MIN:
        raise ValueError(f"{len(samples.at_seconds)} samples say nothing: let it run for longer")
    times = samples.at_seconds[start:]
    lines = []
    for (who, what), values in sorted(samples.values.items()):
        kept = values[start:]
        if what == KEPT:
            lines.append(_judge_kept(who, kept, samples.settled[start:]))
        else:
            lines.append(_judge_flat(who, what, times, kept))
    return lines


def _judge_flat(who: str, what: str, times: list[float], values: list[float]) -> Line:
    slope, tau = slope_and_tau(times, values)
    growth = slope * (times[-1] - times[0])
    usual = median(values)
    floor = POSTGRES_MEMORY_FLOOR if (who, what) == ("postgres", MEMORY) else FLOORS[what]
    grows = growth > max(floor, usual * GROWTH_SHARE_MAX) and tau >= STEADY_TAU
    grows = grows and (who, what) not in NOT_JUDGED
    return Line(who, what, UNITS[what], usual, growth, tau, grows)


def _judge_kept(who: str, values: list[float], settled: list[int]) -> Line:
    requests = settled[-1] - settled[0]
    each = (values[-1] - values[0]) * MIB / requests if requests else 0.0
    grows = requests >= REQUESTS_MIN and each > BYTES_FOR_A_REQUEST_MAX[who]
    return Line(who, KEPT, "bytes a request", median(values), each, 0.0, grows, per_request=True)


def slope_and_tau(times: list[float], values: list[float]) -> tuple[float, float]:
    """Theil and Sen's slope (per second), and Kendall's tau of the values with the time (-1 to 1)."""
    step = max(1, len(times) // SAMPLES_MAX)
    points = list(zip(times[::step], values[::step], strict=True))
    pairs = [(later[0] - earlier[0], later[1] - earlier[1]) for earlier, later in combinations(points, 2)]
    ups = sum(rise > 0 for _, rise in pairs)
    downs = sum(rise < 0 for _, rise in pairs)
    return median(rise / seconds for seconds, rise in pairs), (ups - downs) / len(pairs)
