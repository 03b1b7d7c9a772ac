"""The gate: the one atomic step that admits a request into its sale's line, or refuses it.

The step itself is `gate.lua`; this module prepares its input and names its answers.
"""

import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import structlog
from redis.commands.core import Script
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from models import rediskeys
from models.clock import from_ms, to_iso
from models.errors import ConflictError, DomainError, InvalidError, NotFoundError, UnavailableError
from models.purchase import Kind, Reason
from models.redisclient import gate_client
from models.settings import settings

log = structlog.get_logger()

KIND_LETTERS = {Kind.PURCHASE: "p", Kind.RESERVATION: "r"}
REFUSALS = {Reason.ENDED: "The sale has ended", Reason.PAUSED: "The sale is paused", Reason.SOLD_OUT: "Sold out"}
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


@dataclass(frozen=True, slots=True)
class Admission:
    """A place in the line. `position` is the number of tickets still ahead, zero for the next."""

    sale_id: int
    ticket: int
    position: int
    estimate_seconds: float
    replayed: bool
    wake: bool
    dedicated: bool


@cache
def _script() -> Script:
    return gate_client().register_script(Path(__file__).with_name("gate.lua").read_text())


def admit(sale_id: int, user_id: int, kind: Kind, quantity: int, *, idempotency_key: str | None = None) -> Admission:
    """Ask the gate of a sale for a place in its line.

    Raises NotFoundError for an unknown sale, ConflictError / LimitExceededError / UnavailableError for the refusals
    that DESIGN names, KeyReusedError for a key with another body, and redis errors where Redis is away: then the
    request may or may not have been admitted, and only its Idempotency-Key can tell.
    """
    try:
        answer = _ask(sale_id, user_id, kind, quantity, idempotency_key or "")
    except (OutOfMemoryError, ReadOnlyError):
        raise
    except ResponseError as error:
        # Something else lies in the place of the sale's keys: the script stumbled before it admitted anybody.
        log.warning("gate.spoilt", sale=sale_id, error=str(error))
        answer = ["UNKNOWN"]
    if answer[0] == "UNKNOWN":
        # Imported here: the view is announced by the module that also reads sales from PostgreSQL.
        from models.announce import rebuild_view  # noqa: PLC0415

        if not rebuild_view(sale_id):
            raise NotFoundError("Flash sale not found", code="SALE_NOT_FOUND")
        answer = _ask(sale_id, user_id, kind, quantity, idempotency_key or "")
    if answer[0] == "UNKNOWN":
        raise UnavailableError("The sale cannot be read at this moment; try again")
    if answer[0] not in ("ADMITTED", "SEEN"):
        raise _refusal(answer)
    _, ticket, settled_through, pace, wake, dedicated = answer
    position = max(0, ticket - settled_through - 1)
    return Admission(
        sale_id=sale_id,
        ticket=ticket,
        position=position,
        estimate_seconds=estimate_seconds(position, pace),
        replayed=answer[0] == "SEEN",
        wake=bool(wake),
        dedicated=bool(dedicated),
    )


def estimate_seconds(position: int, pace: str | None) -> float:
    """How long a ticket with so many ahead will wait, from the sale's own recent pace (requests a second)."""
    try:
        per_second = float(pace) if pace else PACE_UNKNOWN
    except ValueError:
        per_second = PACE_UNKNOWN
    return round(max(ESTIMATE_MIN_SECONDS, (position + 1) / max(1.0, per_second)), 3)


def _ask(sale_id: int, user_id: int, kind: Kind, quantity: int, key: str) -> list[Any]:
    known = settings()
    return _script()(  # type: ignore[no-any-return]
        keys=[
            rediskeys.view(sale_id),
            rediskeys.mailbox(sale_id),
            rediskeys.awake(sale_id),
            rediskeys.idempotency(sale_id, user_id, key),
            rediskeys.counts(sale_id),
        ],
        args=[
            user_id,
            KIND_LETTERS[kind],
            quantity,
            secrets.token_urlsafe(12),
            key,
            known.idempotency_hours * 3600,
            known.line_max,
            rediskeys.AWAKE_MS,
        ],
    )


def _refusal(answer: list[Any]) -> DomainError:
    code = answer[0]
    if code == "IDEMPOTENCY_KEY_REUSED":
        return KeyReusedError()
    if code == Reason.LIMIT_EXCEEDED:
        return LimitExceededError(f"At most {answer[1]} for one buyer", data={"limit": answer[1]})
    if code == "LINE_FULL":
        return UnavailableError("The line is full; try again in a moment", code=code)
    if code == Reason.NOT_STARTED:
        starts_ms = min(answer[1], LAST_MS)
        return ConflictError("The sale has not started", code=code, data={"startsAt": to_iso(from_ms(starts_ms))})
    if code == Reason.INSUFFICIENT_STOCK:
        return ConflictError(f"Only {answer[1]} left", code=code, data={"availableUnits": answer[1]})
    return ConflictError(REFUSALS[code], code=code)


def check_quantity(quantity: int) -> int:
    """The quantity, if a request may ask for it at all; InvalidError otherwise."""
    if not 1 <= quantity <= QUANTITY_MAX:
        raise InvalidError.field("quantity", f"must be between 1 and {QUANTITY_MAX}")
    return quantity
