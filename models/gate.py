"""The gate: the one atomic step that admits a request into its sale's line, or refuses it.

The step itself is `gate.lua`; this module names its answers. What is asked of whoever asks (was the token given back,
is it too often, is too much behind it) is asked in the same step, so that a request for units makes one trip to Redis
and not four, unless Redis is a cluster.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from models.clock import from_ms, now, to_iso
from models.errors import ConflictError, DomainError, InvalidError, NotFoundError, UnavailableError
from models.gateline import GateBrokenError
from models.gateparts import Answer, Request, ask_at_once, ask_in_turn
from models.purchase import Kind, Reason
from models.settings import settings
from models.trips import HELD, Trips, at_once
from models.velocity import Finding, Question, VelocityRefusedError, findings_of

KIND_LETTERS = {Kind.PURCHASE: "p", Kind.RESERVATION: "r"}
# Far above any sale's stock, and far inside a Lua number.
QUANTITY_MAX = 1_000_000
# The last moment that has a name.
LAST_MS = 253_402_300_799_999
# Requests a second that a sale is taken to settle before it has settled any, and the least that anybody waits.
PACE_UNKNOWN = 1_000.0
ESTIMATE_MIN_SECONDS = 0.01


class LimitExceededError(DomainError):
    """More units than one request or one buyer may have."""

    code = Reason.LIMIT_EXCEEDED
    message = "More than one buyer may have"


class KeyReusedError(DomainError):
    """An Idempotency-Key that stands for another body
    (draft-ietf-httpapi-idempotency-key-header-07, section 2.7)."""

    code = "IDEMPOTENCY_KEY_REUSED"
    message = "This Idempotency-Key was used with another body"


class GivenBackError(DomainError):
    """The token was given back before its time."""

    code = "TOKEN_REVOKED"
    message = "The token was revoked"


class TooOftenError(DomainError):
    """More requests than one user may send. One fits again in `wait_ms` milliseconds."""

    code = "RATE_LIMITED"
    message = "Too many requests"

    def __init__(self, limit: "Limit", wait_ms: int) -> None:
        self.limit = limit
        self.wait_ms = wait_ms
        super().__init__()


# Those that need no number from the gate.
PLAIN_REFUSALS: dict[str, Callable[[], DomainError]] = {
    "UNKNOWN": lambda: NotFoundError("Flash sale not found", code="SALE_NOT_FOUND"),
    "LINE_FULL": lambda: UnavailableError("The line is full; try again in a moment", code="LINE_FULL"),
    "REVOKED": GivenBackError,
    VelocityRefusedError.code: VelocityRefusedError,
    KeyReusedError.code: KeyReusedError,
    Reason.ENDED: lambda: ConflictError("The sale has ended", code=Reason.ENDED),
    Reason.PAUSED: lambda: ConflictError("The sale is paused", code=Reason.PAUSED),
    Reason.SOLD_OUT: lambda: ConflictError("Sold out", code=Reason.SOLD_OUT),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` requests in any `seconds`."""

    amount: int
    seconds: int


class Checks(NamedTuple):
    """What is asked of whoever asks, by the token's `jti` and its generation (models/revocations.py)."""

    jti: str
    generation: int
    limits: tuple[Limit, ...] = ()
    questions: tuple[Question, ...] = ()


class Admission(NamedTuple):
    """A place in the line. `position` is the number of tickets still ahead, zero for the next.

    `left` is how many more requests the limits let in now; None where nothing limits them.
    """

    sale_id: int
    ticket: int
    position: int
    estimate_seconds: float
    replayed: bool
    wake: bool
    dedicated: bool
    left: int | None = None


class GateAnswer(NamedTuple):
    """What the gate said, and what velocity found, which is to be recorded whatever the gate said."""

    sale_id: int
    code: str
    values: list[Any]
    findings: list[Finding]
    limits: tuple[Limit, ...]

    def admission(self) -> Admission:
        """The place in line.

        Raises NotFoundError for an unknown sale, ConflictError / LimitExceededError / UnavailableError for the refusals
        that DESIGN names, KeyReusedError for a key with another body, and for what was asked of whoever asks
        GivenBackError, TooOftenError and VelocityRefusedError.
        """
        if self.code not in ("ADMITTED", "SEEN"):
            raise self._refusal()
        ticket, settled_through, pace, wake, dedicated, left = self.values
        position = max(0, ticket - settled_through - 1)
        return Admission(
            sale_id=self.sale_id,
            ticket=ticket,
            position=position,
            estimate_seconds=estimate_seconds(position, pace),
            replayed=self.code == "SEEN",
            wake=bool(wake),
            dedicated=bool(dedicated),
            left=left if left >= 0 else None,
        )

    @property
    def ticket(self) -> int | None:
        """The ticket, of a request that has one."""
        return int(self.values[0]) if self.code in ("ADMITTED", "SEEN") else None

    def _refusal(self) -> DomainError:
        code, detail = self.code, self.values[0] if self.values else 0
        if code in PLAIN_REFUSALS:
            return PLAIN_REFUSALS[code]()
        if code == TooOftenError.code:
            return TooOftenError(self.limits[detail - 1], self.values[1])
        if code == Reason.LIMIT_EXCEEDED:
            return LimitExceededError(f"At most {detail} in one request", data={"limit": detail})
        if code == Reason.NOT_STARTED:
            starts_at = to_iso(from_ms(min(detail, LAST_MS)))
            data = {"startsAt": starts_at, "serverTime": to_iso(now())}
            return ConflictError("The sale has not started", code=code, data=data)
        return ConflictError(f"Only {detail} left", code=code, data={"availableUnits": detail})


def admit(sale_id: int, user_id: int, kind: Kind, quantity: int, *, idempotency_key: str | None = None) -> Admission:
    """A place in the line of a sale, for somebody of whom nothing is asked. Raises as `GateAnswer.admission` does, and
    redis errors as `ask` does."""
    return ask(sale_id, user_id, kind, quantity, idempotency_key=idempotency_key).admission()


def ask(
    sale_id: int,
    user_id: int,
    kind: Kind,
    quantity: int,
    *,
    idempotency_key: str | None = None,
    checks: Checks | None = None,
    trace: str | None = None,
) -> GateAnswer:
    """What `ask_by` answers, for somebody who waits for it here."""
    steps = ask_by(HELD, sale_id, user_id, kind, quantity, idempotency_key=idempotency_key, checks=checks, trace=trace)
    return at_once(steps)


async def ask_by(
    trips: Trips,
    sale_id: int,
    user_id: int,
    kind: Kind,
    quantity: int,
    *,
    idempotency_key: str | None = None,
    checks: Checks | None = None,
    trace: str | None = None,
) -> GateAnswer:
    """Ask the gate of a sale for a place in its line. `trace` is the W3C traceparent of a request that is traced.

    Raises GateBrokenError where Redis is out of order, and redis errors where it is away: then the request may or may
    not have been admitted, and only its Idempotency-Key can tell.
    """
    request = Request(sale_id, user_id, KIND_LETTERS[kind], quantity, idempotency_key or "", trace or "")
    try:
        code, numbers, *values = await _ask(trips, request, checks)
    except GateBrokenError:
        # Something else lies in the place of the sale's keys: the script stumbled before it admitted anybody.
        code, numbers, values = "UNKNOWN", [], []
    if code == "UNKNOWN":
        # Imported here: the view is announced by the module that also reads sales from PostgreSQL.
        from models.announce import rebuild_view  # noqa: PLC0415

        if await trips.aside(partial(rebuild_view, sale_id)):
            # Whoever asks was counted, and what is behind them found, the first time.
            again = Checks(checks.jti, checks.generation) if checks else None
            code, _, *values = await _ask(trips, request, again)
            if code == "UNKNOWN":
                raise GateBrokenError
    questions, limits = (checks.questions, checks.limits) if checks else ((), ())
    return GateAnswer(sale_id, code, values, findings_of(questions, numbers), limits)


def estimate_seconds(position: int, pace: str | None) -> float:
    """How long a ticket with so many ahead will wait, from the sale's own recent pace (requests a second)."""
    try:
        per_second = float(pace) if pace else PACE_UNKNOWN
    except ValueError:
        per_second = PACE_UNKNOWN
    return round(max(ESTIMATE_MIN_SECONDS, (position + 1) / max(1.0, per_second)), 3)


async def _ask(trips: Trips, request: Request, checks: Checks | None) -> Answer:
    way = ask_in_turn if settings().redis_is_cluster else ask_at_once
    return await way(trips, request, checks)


def check_quantity(quantity: int) -> int:
    """The quantity, if a request may ask for it at all; InvalidError otherwise."""
    if not 1 <= quantity <= QUANTITY_MAX:
        raise InvalidError.field("quantity", f"must be between 1 and {QUANTITY_MAX}")
    return quantity
