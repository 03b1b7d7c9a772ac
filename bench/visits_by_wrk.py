"""Buyers who each buy and stay until they know the outcome, by wrk: as many at once as there are connections."""

from dataclasses import dataclass
from pathlib import Path

from bench.buyers import BuyersFile
from bench.load import STRAYS_MAX, Traffic, run_wrk
from ops.errors import OpsError

SCRIPT = Path(__file__).with_name("visits.lua")


@dataclass(frozen=True, slots=True)
class Look:
    """How whoever was told 202 asks for the outcome: `@PLACE@` in the path is the purchase, which answers call `name`.

    Before each look they pause; 0 where the server holds the look until it knows.
    """

    path: str
    name: str
    pause_ms: int = 0


# Of a shop that tells nobody 202.
AT_ONCE = Look("@PLACE@", "-")


@dataclass(frozen=True, slots=True)
class Known:
    """What came of it: buyers who came, those who know that they have what they wanted, and answers that no buyer who
    is served should have."""

    came: int
    known: int
    wrong: int
    broken: int
    seconds: float
    connections: int

    @property
    def rate(self) -> float:
        """Buyers a second who know."""
        return self.known / self.seconds

    @property
    def lost(self) -> int:
        """Those who never heard, beside the ones who were still there at the end."""
        return max(0, self.came - self.known - self.wrong - self.connections)

    def checked(self) -> "Known":
        """Itself; raises OpsError where more than a stray buyer was not served."""
        if self.wrong + self.broken + self.lost > self.known * STRAYS_MAX or not self.known:
            raise OpsError(
                f"of {self.came} buyers {self.known} know; {self.wrong} answers were wrong, {self.lost} never came, "
                f"and {self.broken} connections broke"
            )
        return self


def visit_by_wrk(traffic: Traffic, look: Look, seconds: float, buyers: BuyersFile) -> Known:
    """One buyer after the other on each connection, for so long; raises OpsError where wrk itself fails.

    Who is still there when the time is up is not counted, and the shop goes on with their purchase.
    """
    told = run_wrk(
        traffic,
        seconds,
        buyers,
        script=SCRIPT,
        BENCH_LOOK_PATH=look.path,
        BENCH_LOOK_NAME=look.name,
        BENCH_LOOK_PAUSE_MS=str(look.pause_ms),
    )
    known = Known(
        told["came"], told["known"], told["wrong"], told["broken"], told["seconds"], connections=traffic.connections
    )
    # wrk makes one request that it never sends.
    buyers.pass_by(known.came + 1)
    return known
