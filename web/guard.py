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
from models.gate import Admission, Checks, GivenBackError, ask
from models.ip_ranges import Action
from models.purchase import Kind
from models.settings import settings
from models.velocity import Attempt, Finding, questions_about
from web.auth import current_user
from web.limits import client_address, note_left, purchase_limits
from web.recorder import recorder
from web.standing import standing_copy
from web.traces import begin_at_gate
from web.unauthorized import TokenRevokedError

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
    ranges = standing_copy().current().ranges
    if not ranges:
        return
    g.address_action = ranges.action_for(parse_address(client_address()), now())
    if g.address_action is Action.DENY:
        raise AddressDeniedError


def pass_gate(
    sale_id: int, kind: Kind, quantity: int, *, idempotency_key: str | None, group_key: str | None = None
) -> Admission:
    """Ask the gate for the current user, and of them whatever there is to ask; `group_key` is the shop's, in the clear.

    Raises what the gate refuses, TokenRevokedError, TooOftenError and VelocityRefusedError; redis errors where Redis is
    away.
    """
    who = current_user()
    address = client_address()
    is_exempt = settings().is_exempt(address)
    attempt = Attempt(who.user_id, sale_id, address, group_key)
    is_trusted = is_exempt or g.get("address_action") is Action.ALLOW
    checks = Checks(
        jti=who.jti,
        generation=who.generation,
        limits=() if is_exempt else purchase_limits(),
        questions=() if is_trusted else questions_about(attempt, standing_copy().current().passes),
    )
    trace = begin_at_gate(sale_id)
    traceparent = trace.traceparent if trace else None
    began = time.perf_counter()
    answer = ask(
        sale_id, who.user_id, kind, quantity, idempotency_key=idempotency_key, checks=checks, trace=traceparent
    )
    seconds = time.perf_counter() - began
    if trace:
        trace.answered(answer.code, answer.ticket)
    for finding in answer.findings:
        if finding.is_new:
            recorder().keep(_record(attempt, finding))
    try:
        admission = answer.admission()
    except GivenBackError as error:
        raise TokenRevokedError from error
    if not admission.replayed:
        metrics.admitted(seconds)
    note_left(admission.left)
    return admission


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
