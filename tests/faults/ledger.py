"""What the buyers know: every request that they made, and everything that they were told about it."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise, product

QUEUED = "queued"
# What may follow what (models/purchase.py); an outcome that is told later may be one of these.
FOLLOWS = {
    "confirmed": frozenset({"confirmed", "refunded"}),
    "reserved": frozenset({"reserved", "confirmed", "cancelled", "expired", "refunded"}),
    "rejected": frozenset({"rejected"}),
    "cancelled": frozenset({"cancelled"}),
    "expired": frozenset({"expired"}),
    "refunded": frozenset({"refunded"}),
}


def follows(early: str, late: str) -> bool:
    """Whether a purchase that was `early` can be `late` afterwards."""
    return late in FOLLOWS.get(early, frozenset())


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that a buyer heard of a request. `at` is the rig's monotonic clock, in seconds."""

    at: float
    ticket: int
    status: str
    by: str  # "answer", "look", "socket", "checkout", "cancel"


@dataclass(slots=True)
class Ask:
    """One request for units, however often it was sent. Without a key, every try is a request of its own."""

    sale_id: int
    user_id: int
    token: str
    kind: str
    quantity: int
    key: str | None
    then: str | None = None  # "checkout" or "cancel", for a hold
    sent_at: float | None = None
    tries: int = 0
    accepted_at: float | None = None
    refusal: str | None = None
    told: list[Told] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)  # answers that no shop should give: 500 and the like

    @property
    def tickets(self) -> list[int]:
        """Every ticket that a buyer was given for it, the first one first."""
        return list(dict.fromkeys(each.ticket for each in self.told))

    @property
    def is_accepted(self) -> bool:
        return self.accepted_at is not None

    @property
    def outcome(self) -> str | None:
        """The first outcome that the buyer heard of, None while it waits."""
        return next((each.status for each in self.told if each.status != QUEUED), None)

    def hear(self, at: float, ticket: int, status: str, by: str) -> None:
        if self.accepted_at is None:
            self.accepted_at = at
        self.told.append(Told(at, ticket, status, by))

    def contradictions(self) -> list[str]:
        """Outcomes that cannot follow one another, in the order in which the buyer asked for them.

        What a socket says may come late: it is held against what was known before, either way round.
        """
        asked = [each for each in self.told if each.status != QUEUED and each.by != "socket"]
        heard = [each for each in self.told if each.by == "socket"]
        return [
            f"told {late.status} ({late.by}) after {early.status} ({early.by})"
            for early, late in pairwise(asked)
            if not follows(early.status, late.status)
        ] + [
            f"a socket said {one.status}, HTTP said {other.status}"
            for one, other in product(heard, asked)
            if not follows(one.status, other.status) and not follows(other.status, one.status)
        ]


@dataclass(slots=True)
class Ledger:
    """All requests of a seed. `silences` are tries without an answer, by what was in the way."""

    asks: list[Ask] = field(default_factory=list)
    silences: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    # Tries that have no answer yet, each by a mark of its own.
    in_hand: set[object] = field(default_factory=set)

    @property
    def accepted(self) -> list[Ask]:
        return [ask for ask in self.asks if ask.is_accepted]
