"""What becomes of waiting requests: a pure function of the sale, its buyers' holdings, the requests and the time.

No I/O, no clock, no framework: everything that a decision rests on is an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from models.purchase import Kind, Reason, Status
from models.sale import SaleState


@dataclass(frozen=True, slots=True)
class SaleTerms:
    """What of a sale decides. Times are milliseconds since the epoch; None means no such bound."""

    total_stock: int
    sold: int
    reserved: int
    starts_ms: int
    ends_ms: int | None
    state: SaleState
    paused: bool
    max_per_purchase: int | None
    max_per_user: int | None
    hold_seconds: int
    # Of a run of a series: what one buyer may have of all runs of its month.
    max_per_user_month: int | None = None

    @property
    def remaining(self) -> int:
        return self.total_stock - self.sold - self.reserved


class Request(NamedTuple):
    """One entry of the mailbox. `admitted_ms` is Redis's time at the gate.

    A tuple, as are outcomes: a frozen dataclass takes three times as long to make.
    """

    ticket: int
    user_id: int
    kind: Kind
    quantity: int
    nonce: str
    admitted_ms: int
    idempotency_key: str | None = None
    original_ticket: int | None = None
    malformed: bool = False
    # Where the spans of what becomes of it belong; nothing is decided by it (models/tracing.py).
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """What a buyer already has of a sale: units bought and held, and when the oldest hold that runs ends.

    `month_units` are those of all runs of its series in its month, this one's included.
    """

    units: int = 0
    hold_expires_ms: int | None = None
    month_units: int = 0

    def with_units(self, quantity: int) -> "Holding":
        # Not by dataclasses.replace, which takes longer than the decision itself.
        return Holding(self.units + quantity, self.hold_expires_ms, self.month_units + quantity)


NO_UNITS = Holding()


class Outcome(NamedTuple):
    """What became of a request."""

    request: Request
    status: Status
    reason: Reason | None = None
    expires_ms: int | None = None
    duplicate_of: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Every request's outcome, in ticket order, and the stock that follows."""

    outcomes: list[Outcome]
    sold: int
    reserved: int


def decide(
    sale: SaleTerms,
    holdings: Mapping[int, Holding],
    requests: Sequence[Request],
    now_ms: int,
    first_tickets: Mapping[tuple[int, str], int] | None = None,
) -> Decision:
    """Decide each request in ticket order.

    `holdings` names the buyers concerned who already have units; `first_tickets` the (buyer, Idempotency-Key) pairs
    that an earlier ticket was settled under. `now_ms` dates the holds that begin.
    """
    held = dict(holdings)
    # What buyers have is kept account of where a limit or a hold can rest on it.
    counts = sale.max_per_user is not None or sale.max_per_user_month is not None
    firsts = dict(first_tickets or {})
    sold, reserved, total_stock = sale.sold, sale.reserved, sale.total_stock
    outcomes: list[Outcome] = []
    for request in requests:
        user = request.user_id
        if request.idempotency_key:
            pair = user, request.idempotency_key
            if pair in firsts:
                outcomes.append(Outcome(request, Status.REJECTED, Reason.DUPLICATE, duplicate_of=firsts[pair]))
                continue
            firsts[pair] = request.ticket
        mine = held.get(user, NO_UNITS) if held else NO_UNITS
        reason = _refusal(sale, mine, request, total_stock - sold - reserved)
        if reason:
            outcomes.append(Outcome(request, Status.REJECTED, reason))
        elif request.kind is Kind.PURCHASE:
            sold += request.quantity
            outcomes.append(Outcome(request, Status.CONFIRMED))
            if counts:
                held[user] = mine.with_units(request.quantity)
        else:
            reserved += request.quantity
            expires_ms = _expiry(sale, mine, now_ms)
            outcomes.append(Outcome(request, Status.RESERVED, expires_ms=expires_ms))
            held[user] = replace(mine.with_units(request.quantity), hold_expires_ms=expires_ms)
    return Decision(outcomes, sold, reserved)


def _refusal(  # noqa: PLR0911, C901 - one reason a line
    sale: SaleTerms, mine: Holding, request: Request, remaining: int
) -> Reason | None:
    """Why this request cannot have its units, or None if it can."""
    if request.malformed or request.quantity < 1:
        return Reason.MALFORMED
    if sale.state is SaleState.CANCELLED:
        return Reason.ENDED
    if request.admitted_ms < sale.starts_ms:
        return Reason.NOT_STARTED
    # Admitted before the end is honoured, however late it is settled.
    if sale.ends_ms is not None and request.admitted_ms >= sale.ends_ms:
        return Reason.ENDED
    if sale.paused:
        return Reason.PAUSED
    if sale.max_per_purchase is not None and request.quantity > sale.max_per_purchase:
        return Reason.LIMIT_EXCEEDED
    if sale.max_per_user is not None and mine.units + request.quantity > sale.max_per_user:
        return Reason.LIMIT_EXCEEDED
    if sale.max_per_user_month is not None and mine.month_units + request.quantity > sale.max_per_user_month:
        return Reason.LIMIT_EXCEEDED
    if remaining <= 0:
        return Reason.SOLD_OUT
    if request.quantity > remaining:
        return Reason.INSUFFICIENT_STOCK
    return None


def _expiry(sale: SaleTerms, mine: Holding, now_ms: int) -> int:
    """When a hold that begins now ends: a top-up shares the clock of the hold that already runs."""
    fresh = now_ms + sale.hold_seconds * 1000
    if mine.hold_expires_ms is not None and mine.hold_expires_ms > now_ms:
        return min(mine.hold_expires_ms, fresh)
    return fresh
