"""The doorstep: plain requests for units, and looks at purchases and sales, are answered in front of Flask.

In a rush nearly every request is the same few bytes, and Flask, its extensions and our hooks cost several times what
the gate itself does. So a request that is plain in every respect (a sound bearer token, a quantity as JSON, no wish but
`Prefer: wait`) is read from the WSGI environment (PEP 3333), the gate is asked, the outcome is waited for if that is
preferred, and the daily answers are written here: by the functions that Flask's views use, so with the same bytes. A
plain look at a purchase is answered here as well (web/looks.py), and what web/fresh.py keeps for a crowd is handed out.
On web the event loop of web/front.py asks here; on live, and for any WSGI server, the doorstep stands around Flask.

It never says what Flask should: whatever is not plain goes on to Flask as if nothing stood before it, and so does every
answer that is not daily, with that answer in its environment, because neither gate nor look must be asked twice.
docs/decisions/0027-a-doorstep-before-flask.md and 0032-looks-at-the-doorstep.md have the figures; tests/doorstep holds
the two ways side by side.
"""

import logging
import re
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Flask

from models import metrics, tracing
from models.errors import ConflictError
from models.gate import GateAnswer
from models.ip_ranges import Action
from models.logs import is_logged, name_lines
from models.looks import Place
from models.names import request_name
from models.purchase import Kind, Reason
from models.settings import settings
from models.tokens import Claims
from models.trips import HELD, Trips, at_once
from models.velocity import Attempt
from web.auth import identity_of
from web.crowd import crowd
from web.envelope import refusal_body
from web.fresh import LOOKED, answers, kept_body
from web.guard import ASKED, action_for, admission_of, checks_of, knock
from web.headers import HSTS, POLICIES, grant
from web.json import to_json
from web.limits import address_in, look_policy, purchase_policy
from web.looks import look_at
from web.plain import JSON_TYPES, holder_in, place_in, quantity_in, wait_in
from web.preferences import KEY, read_wait_seconds
from web.purchases import queued, shown, told, wait_for_outcome
from web.requestlog import HEADER as REQUEST_ID
from web.stopping import is_stopping
from web.wake import waker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROUTE = re.compile(r"/api/flash-sales/([1-9][0-9]{0,17})/(purchases|reservations)", re.ASCII)
READ_BELOW = "/api/flash-sales/"
# Where a Flask application has its doorstep.
DOORSTEP = "doorbuster.doorstep"
KINDS = {"purchases": Kind.PURCHASE, "reservations": Kind.RESERVATION}
# What asks for another answer than the plain one, or for a line in the log.
WISHES = ("HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT", "HTTP_TRANSFER_ENCODING")
# Let in, and the refusals that are all one status: the others come seldom, and Flask has the words for them.
DAILY = frozenset(
    {
        "ADMITTED",
        "SEEN",
        Reason.NOT_STARTED,
        Reason.ENDED,
        Reason.PAUSED,
        Reason.SOLD_OUT,
        Reason.INSUFFICIENT_STOCK,
    }
)
STATUSES = {status.value: f"{status.value} {status.phrase.upper()}" for status in HTTPStatus}


class Plain(NamedTuple):
    """A request for units with nothing unusual about it."""

    who: Claims
    attempt: Attempt
    kind: Kind
    quantity: int
    key: str | None
    action: Action | None
    wait_seconds: float


class Answer(NamedTuple):
    """What is said at the doorstep; `headers` are those that are not on every answer."""

    status: int
    body: bytes
    request_id: str
    headers: dict[str, str]


def init_doorstep(app: Flask) -> None:
    """Put the doorstep before the application, unless every request is to be followed: in the log, or by traces."""
    if not is_logged(logging.DEBUG) and not tracing.is_on():
        app.wsgi_app = app.extensions[DOORSTEP] = Doorstep(app.wsgi_app)  # type: ignore[method-assign]


class Doorstep:
    """A WSGI application around Flask's."""

    def __init__(self, flask: "WSGIApplication") -> None:
        self.flask = flask

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        answer = at_once(answer_at_doorstep(environ, HELD))
        if answer is None:
            return self.flask(environ, start_response)
        start_response(STATUSES[answer.status], headers_of(environ, answer))
        return [answer.body]


async def answer_at_doorstep(environ: "WSGIEnvironment", trips: Trips) -> Answer | None:
    """What is said at the doorstep; None if it is for Flask to say, with ASKED in the environment if the gate was
    asked. The body of a request for units must be there already where nobody may be held up for it."""
    answer = await _answer(environ, trips) if _is_plain(environ) else None
    if answer is not None:
        metrics.answered(answer.status)
    return answer


def _is_plain(environ: "WSGIEnvironment") -> bool:
    """Whether nothing but the path, the query, the token and the body can make the answer another one."""
    return not (environ.get("SCRIPT_NAME") or any(wish in environ for wish in WISHES) or is_stopping())


async def _answer(environ: "WSGIEnvironment", trips: Trips) -> Answer | None:
    place = place_in(environ)
    if place is not None:
        return await _shown(environ, place, trips)
    if environ.get("QUERY_STRING"):
        return None
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if method == "GET":
        return _kept(environ, path) if path.startswith(READ_BELOW) else None
    found = ROUTE.fullmatch(path) if method == "POST" else None
    return await _let_in(environ, int(found[1]), KINDS[found[2]], trips) if found else None


async def _let_in(environ: "WSGIEnvironment", sale_id: int, kind: Kind, trips: Trips) -> Answer | None:
    """A request for units, if it is plain and the gate's answer is daily."""
    plain = _read(environ, sale_id, kind)
    if plain is None:
        return None
    request_id = _name()
    try:
        began = time.monotonic()
        answer = await _ask(plain, trips)
        if answer.code not in DAILY:
            environ[ASKED] = answer
            return None
        said, status, headers = await _told(plain, answer, began, trips)
    except Exception as error:  # noqa: BLE001 - Flask says what it means, and logs what it does not know
        environ[ASKED] = error
        return None
    if status == HTTPStatus.CREATED:
        # As web/fresh.py does: whoever bought is not shown what was before.
        answers().forget()
    return Answer(status, to_json(said), request_id, headers)


async def _ask(plain: Plain, trips: Trips) -> GateAnswer:
    """What the gate says, or said a moment ago to a crowd that asked the same."""
    sale_id, quantity = plain.attempt.sale_id, plain.quantity
    known = crowd().answer_for(sale_id, quantity) if plain.key is None else None
    if known is not None:
        return known
    checks = checks_of(plain.who, plain.attempt, plain.action)
    answer = await knock(trips, plain.attempt, plain.kind, quantity, checks, idempotency_key=plain.key)
    crowd().note(quantity, answer)
    return answer


def _kept(environ: "WSGIEnvironment", path: str) -> Answer | None:
    """A kept answer that is fresh; everybody else is told that it was looked for."""
    if action_for(address_in(environ)) is Action.DENY:
        return None
    body = kept_body(path)
    if body is None:
        environ[LOOKED] = True
        return None
    return Answer(HTTPStatus.OK.value, body, _name(), {})


async def _shown(environ: "WSGIEnvironment", place: Place, trips: Trips) -> Answer | None:
    """A look at a purchase, if it is plain."""
    wait_seconds = wait_in(environ)
    address = address_in(environ)
    who = None if wait_seconds is None or action_for(address) is Action.DENY else holder_in(environ)
    if who is None or wait_seconds is None:
        return None
    request_id = _name()
    try:
        body, status = shown(await look_at(trips, identity_of(who), place, wait_seconds, address))
    except Exception as error:  # noqa: BLE001 - Flask says what it means, and logs what it does not know
        environ[ASKED] = error
        return None
    return Answer(status, to_json(body), request_id, {} if settings().is_exempt(address) else look_policy())


def _name() -> str:
    """This request's id, which its lines in the log have too."""
    request_id = request_name()
    name_lines(request_id=request_id)
    return request_id


def _read(environ: "WSGIEnvironment", sale_id: int, kind: Kind) -> Plain | None:
    """The request for units, if it is plain."""
    if environ.get("CONTENT_TYPE") not in JSON_TYPES:
        return None
    key = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and (not KEY.fullmatch(key) or key[0] == '"'):
        return None
    address = address_in(environ)
    action = action_for(address)
    who = None if action is Action.DENY else holder_in(environ)
    # The body comes last: where it is not there yet, whoever shows no sound token is refused and nobody waits for it.
    quantity = None if who is None else quantity_in(environ)
    if who is None or quantity is None:
        return None
    attempt = Attempt(who.user_id, sale_id, address)
    wait_seconds = read_wait_seconds(environ.get("HTTP_PREFER", ""))
    return Plain(who, attempt, kind, quantity, key, action, wait_seconds)


async def _told(
    plain: Plain, answer: GateAnswer, began: float, trips: Trips
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Body, status and the headers that are not on every answer. Raises what waiting for an outcome raises."""
    is_limited = not settings().is_exempt(plain.attempt.address)
    try:
        admission = admission_of(answer, plain.attempt)
    except ConflictError as refused:
        status = HTTPStatus.CONFLICT.value
        body = refusal_body(status, refused.code, refused.message, data=refused.data)
        return body, status, purchase_policy(None) if is_limited else {}
    if admission.wake:
        waker().wake(admission.sale_id, dedicated=admission.dedicated)
    user_id, record = plain.attempt.user_id, None
    if plain.wait_seconds or admission.replayed:
        record = await wait_for_outcome(trips, admission, user_id, plain.wait_seconds, began)
    record = record or queued(admission, user_id, plain.kind, plain.quantity)
    body, status, headers = told(record, plain.wait_seconds)
    if is_limited:
        headers |= purchase_policy(admission.left)
    return body, status, headers


def headers_of(environ: "WSGIEnvironment", answer: Answer) -> list[tuple[str, str]]:
    """All headers of an answer."""
    always = {
        "Content-Type": "application/json",
        "Content-Length": str(len(answer.body)),
        REQUEST_ID: answer.request_id,
    }
    if environ["wsgi.url_scheme"] == "https":
        always["Strict-Transport-Security"] = HSTS
    if is_stopping():
        # As web/stopping.py says it to whoever was in hand when this process was asked to stop.
        always["Connection"] = "close"
    if settings().cors_origins:
        always |= {"Vary": "Origin"} | grant(environ.get("HTTP_ORIGIN"))
    return [*(always | answer.headers).items(), *POLICIES.items()]
