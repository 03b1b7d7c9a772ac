"""The guard before the gate: denied addresses get no further than here, and odd requests get no ticket.

`init_guard` looks at the address of every request, the handshake of a WebSocket included; `guard_purchase` looks at
what is behind a request for units.
"""

from flask import Flask, g, request

from models.addresses import parse_address
from models.clock import now
from models.errors import ForbiddenError
from models.fraud import NewFraudRecord, Verdict
from models.ip_ranges import Action
from models.settings import settings
from models.velocity import Attempt, Finding, judge
from web.limits import client_address
from web.recorder import recorder
from web.standing import standing_copy

# Asked by machines that decide whether this process lives, not by customers.
ALWAYS_OPEN = frozenset({"/healthz", "/readyz"})


class AddressDeniedError(ForbiddenError):
    code = "ADDRESS_DENIED"
    message = "Requests from your address are not accepted"


class VelocityRefusedError(ForbiddenError):
    """Too much is behind this request. Which signal it was stands in the record, not in the answer: whoever tries
    limits out should not be told which one they met."""

    code = "VELOCITY_REFUSED"
    message = "This request was not accepted; if you think it should be, write to us"


def init_guard(app: Flask) -> None:
    """Refuse denied addresses. Registered before the limits, so that whoever is denied costs nearly nothing."""
    app.before_request(_refuse_denied)


def _refuse_denied() -> None:
    if request.path in ALWAYS_OPEN:
        return
    address = parse_address(client_address())
    g.address_action = standing_copy().current().ranges.action_for(address, now())
    if g.address_action is Action.DENY:
        raise AddressDeniedError


def guard_purchase(user_id: int, sale_id: int, group_key: str | None = None) -> None:
    """Score a request for units of a sale before it asks the gate; `group_key` is the shop's, in the clear.

    Raises VelocityRefusedError. Where Redis is away its errors go through: the gate could not answer either, and
    asking it would only take as long again.
    """
    address = client_address()
    if g.get("address_action") is Action.ALLOW or settings().is_exempt(address):
        return
    attempt = Attempt(user_id, sale_id, address, group_key)
    findings = judge(attempt, standing_copy().current().passes)
    for finding in findings:
        if finding.is_new:
            recorder().keep(_record(attempt, finding))
    if any(finding.verdict is Verdict.REFUSE for finding in findings):
        raise VelocityRefusedError


def _record(attempt: Attempt, finding: Finding) -> NewFraudRecord:
    return NewFraudRecord(
        at=now(),
        user_id=attempt.user_id,
        address=parse_address(attempt.address),
        sale_id=attempt.sale_id,
        signal=finding.signal,
        subject=finding.subject,
        score=finding.score,
        action=finding.verdict,
        details={
            "count": finding.count,
            "threshold": finding.threshold,
            "windowSeconds": finding.window_seconds,
        },
    )
