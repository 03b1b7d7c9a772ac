"""The tally: what every buyer of a rush saw, as the buyers themselves heard it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

CONFIRMED = "confirmed"
QUEUED = "queued"


@dataclass(slots=True)
class Visit:
    """One buyer's way through one sale. Moments are seconds of the crowd's own clock; None: it never came to that."""

    sale_id: int
    quantity: int
    pressed_at: float = 0.0  # the buyer presses "buy"
    sent_at: float = 0.0  # the request, or the last try of it, leaves
    accepted_at: float | None = None  # 202 is here
    refused_at: float | None = None
    told_at: float | None = None  # the outcome is here
    refusal: str = ""
    purchase_id: str = ""
    status: str = ""
    reason: str = ""
    units: int = 0
    settled_at: str = ""  # ISO 8601, as the shop dates it

    @property
    def is_accepted(self) -> bool:
        return self.accepted_at is not None

    @property
    def is_lost(self) -> bool:
        """Accepted, and nobody ever said what became of it."""
        return self.is_accepted and self.told_at is None

    @property
    def is_unanswered(self) -> bool:
        return not self.is_accepted and not self.refusal


@dataclass(frozen=True, slots=True)
class SaleCount:
    """What the buyers of one sale counted together. `refused` and `rejected` are buyers by code and by reason."""

    sale_id: int
    quantity: int
    buyers: int
    accepted: int = 0
    confirmed: int = 0
    confirmed_units: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    other_statuses: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    unanswered: int = 0
    doubled: int = 0  # buyers whose purchase id another buyer has too
    misjudged: int = 0  # confirmed with another quantity than asked for, or in another sale

    @property
    def asked_units(self) -> int:
        return self.buyers * self.quantity


@dataclass(slots=True)
class Tally:
    """Everything counted so far; the crowd writes it, the display reads it meanwhile."""

    visits: list[Visit] = field(default_factory=list)
    requests: int = 0  # answers that came over the wire, whatever they said
    troubles: Counter[str] = field(default_factory=Counter)  # answers and silences after which somebody asked again
    accepted: int = 0
    refused: int = 0
    settled: int = 0
    confirmed: int = 0

    @property
    def done(self) -> int:
        """Buyers who know where they stand."""
        return self.refused + self.settled

    def accept(self, visit: Visit, purchase_id: str, at: float) -> None:
        visit.purchase_id, visit.accepted_at = purchase_id, at
        self.accepted += 1

    def refuse(self, visit: Visit, code: str, at: float) -> None:
        visit.refusal, visit.refused_at = code, at
        self.refused += 1

    def settle(self, visit: Visit, at: float, *, status: str, reason: str, units: int, settled_at: str) -> None:
        visit.told_at, visit.status, visit.reason = at, status, reason
        visit.units, visit.settled_at = units, settled_at
        self.settled += 1
        self.confirmed += status == CONFIRMED

    def of_sale(self, sale_id: int) -> Iterator[Visit]:
        return (visit for visit in self.visits if visit.sale_id == sale_id)

    def count(self, sale_id: int) -> SaleCount:
        """Add up what the buyers of one sale saw."""
        return count_visits(sale_id, list(self.of_sale(sale_id)))


def count_visits(sale_id: int, visits: list[Visit]) -> SaleCount:
    """Add up the visits to one sale; there must be at least one."""
    confirmed = [visit for visit in visits if visit.status == CONFIRMED]
    rejected = [visit for visit in visits if visit.status == "rejected"]
    others = [visit.status for visit in visits if visit.status not in ("", CONFIRMED, "rejected")]
    accepted = [visit for visit in visits if visit.is_accepted]
    return SaleCount(
        sale_id=sale_id,
        quantity=visits[0].quantity,
        buyers=len(visits),
        accepted=len(accepted),
        confirmed=len(confirmed),
        confirmed_units=sum(visit.units for visit in confirmed),
        refused=Counter(visit.refusal for visit in visits if visit.refusal),
        rejected=Counter(visit.reason for visit in rejected),
        other_statuses=Counter(others),
        lost=sum(visit.is_lost for visit in visits),
        unanswered=sum(visit.is_unanswered for visit in visits),
        doubled=_doubled(visit.purchase_id for visit in accepted),
        misjudged=sum(
            visit.units != visit.quantity or not visit.purchase_id.startswith(f"{sale_id}-") for visit in confirmed
        ),
    )


def _doubled(purchase_ids: Iterable[str]) -> int:
    return sum(times for times in Counter(purchase_ids).values() if times > 1)
