"""The guard before the gate: denied addresses get no further than here, and odd requests get no ticket.

`init_guard` looks at the address of every request, the handshake of a WebSocket included; `pass_gate` asks the gate for
units, and with the same question whether the token is good, whether it is too often and what is behind the request.
"""

import time

from flask import Flask, g, request

from models import metrics
from models.addresses import parse_address
from models.clock import now
from models.errors import ForbiddenError
from models.fraud import NewFraudRecord
from models.gate import Admission, Checks, GateAnswer, GivenBackError, ask_by
from models.ip_ranges import Action
from models.purchase import Kind
from models.settings import settings
from models.tokens import Claims
from models.trips import HELD, Trips, at_once
from models.velocity import Attempt, Finding, questions_about
from web.auth import Identity, current_user
from web.limits import client_address, note_left, purchase_limits
from web.recorder import recorder
from web.standing import standing_copy
from web.traces import begin_at_gate
from web.unauthorized import TokenRevokedError

# Where a WSGI environment has what was said already when web/doorstep.py asked: the gate's answer, or what was raised.
ASKED = "doorbuster.asked"
# Asked by machines that decide whether this process lives, not by customers.
ALWAYS_OPEN = frozenset({"/healthz", "/readyz"})


class AddressDeniedError(ForbiddenError):
    code = "ADDRESS_DENIED"
    message = "Requests from your address are not accepted"


def init_guard(app: Flask) -> None:
    """Refuse denied addresses. Registered before the limits, so that whoever is denied costs nearly nothing."""
    app.before_request(_refuse_denied)


def _refuse_denied() -> None:
    if request.path in ALWAYS_OPEN:
        return
    g.address_action = action_for(client_address())
    if g.address_action is Action.DENY:
        raise AddressDeniedError


def action_for(address: str) -> Action | None:
    """What the rules for addresses say of this one; None: nothing."""
    ranges = standing_copy().current().ranges
    return ranges.action_for(parse_address(address), now()) if ranges else None


def pass_gate(
    sale_id: int, kind: Kind, quantity: int, *, idempotency_key: str | None, group_key: str | None = None
) -> Admission:
    """Ask the gate for the current user, and of them whatever there is to ask; `group_key` is the shop's, in the clear.

    Raises what the gate refuses, TokenRevokedError, TooOftenError and VelocityRefusedError; redis errors where Redis is
    away.
    """
    who = current_user()
    attempt = Attempt(who.user_id, sale_id, client_address(), group_key)
    answer = request.environ.get(ASKED)
    if answer is None:
        answer = _knock_traced(who, attempt, kind, quantity, idempotency_key)
    if isinstance(answer, Exception):
        raise answer
    admission = admission_of(answer, attempt)
    note_left(admission.left)
    return admission


def _knock_traced(
    who: Identity, attempt: Attempt, kind: Kind, quantity: int, idempotency_key: str | None
) -> GateAnswer:
    checks = checks_of(who, attempt, g.get("address_action"))
    trace = begin_at_gate(attempt.sale_id)
    traceparent = trace.traceparent if trace else None
    answer = at_once(knock(HELD, attempt, kind, quantity, checks, idempotency_key=idempotency_key, trace=traceparent))
    if trace:
        trace.answered(answer.code, answer.ticket)
    return answer


def checks_of(who: Identity | Claims, attempt: Attempt, action: Action | None) -> Checks:
    """What the gate is to ask of whoever asks, from an address of which the rules say `action`."""
    is_exempt = settings().is_exempt(attempt.address)
    is_trusted = is_exempt or action is Action.ALLOW
    return Checks(
        jti=who.jti,
        generation=who.generation,
        limits=() if is_exempt else purchase_limits(),
        questions=() if is_trusted else questions_about(attempt, standing_copy().current().passes),
    )


async def knock(
    trips: Trips,
    attempt: Attempt,
    kind: Kind,
    quantity: int,
    checks: Checks,
    *,
    idempotency_key: str | None,
    trace: str | None = None,
) -> GateAnswer:
    """Ask the gate, and count how long it takes to let somebody in. Raises as `models.gate.ask_by` does."""
    began = time.perf_counter()
    answer = await ask_by(
        trips,
        attempt.sale_id,
        attempt.user_id,
        kind,
        quantity,
        idempotency_key=idempotency_key,
        checks=checks,
        trace=trace,
    )
    if answer.code == "ADMITTED":
        metrics.admitted(time.perf_counter() - began)
    return answer


def admission_of(answer: GateAnswer, attempt: Attempt) -> Admission:
    """The place in line that the gate gave, after what was found was noted. Raises as `pass_gate` does."""
    for finding in answer.findings:
        if finding.is_new:
            recorder().keep(_record(attempt, finding))
    try:
        return answer.admission()
    except GivenBackError as error:
        raise TokenRevokedError from error


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
