"""Answers that a crowd asks for, kept for a moment: a sale, and the live sales.

In the minutes before a start everybody looks at the same few sales. Each process reads such an answer at most about
twice a second and hands it out meanwhile, with its own `serverTime`. What is handed out was read less than a second
ago, and after the last change that went through this process.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, current_app, g, request
from flask.wrappers import Response

from models.clock import now, to_iso
from models.once import once
from web.access import Access, access_of, asks_gate
from web.auth import SAFE_METHODS

View = TypeVar("View", bound=Callable[..., Any])

# Where a WSGI environment says that web/doorstep.py looked for a kept answer, and found none that is fresh: who is told
# so reads it anew, and whoever looked again would find what the others are given meanwhile.
LOOKED = "doorbuster.looked"
# From the start of the reading. Between the two one request reads anew, and the others have what is kept.
RENEW_SECONDS = 0.4
KEPT_SECONDS = 0.9
ANSWERS_MAX = 256
OK = 200
CREATED = 201
REFUSED_FROM = 400
SERVER_TIME = b'"serverTime":"'


def kept_fresh(view: View) -> View:
    """Keep this view's answers: for a GET without a query that has the same answer for everybody."""
    view.is_kept_fresh = True  # type: ignore[attr-defined]
    return view


def init_fresh(app: Flask) -> None:
    """Called after init_guard, so that denied addresses are refused, and before the limits: nothing is counted that
    costs nothing."""
    app.before_request(_hand_out)
    app.after_request(_keep)


@dataclass(slots=True)
class _Answer:
    """A body in pieces, between which the server's time belongs; moments by the monotonic clock."""

    pieces: list[bytes]
    renew_at: float
    end: float


class _Answers:
    """The kept answers of this process, by their path; the oldest gives way."""

    def __init__(self) -> None:
        self._kept: dict[str, _Answer] = {}
        self.changes = 0

    def find(self, path: str) -> list[bytes] | None:
        """The pieces of an answer that is fresh; None for whoever has to read it anew."""
        answer = self._kept.get(path)
        moment = time.monotonic()
        if answer is None or moment >= answer.end:
            return None
        if moment >= answer.renew_at:
            answer.renew_at = answer.end
            return None
        return answer.pieces

    def keep(self, path: str, body: bytes, read_at: float, changes: int) -> None:
        """Keep what was read from `read_at` on, unless something changed meanwhile."""
        if changes != self.changes:
            return
        while len(self._kept) >= ANSWERS_MAX and path not in self._kept:
            self._kept.pop(next(iter(self._kept), ""), None)
        self._kept[path] = _Answer(_pieces(body), read_at + RENEW_SECONDS, read_at + KEPT_SECONDS)

    def forget(self) -> None:
        """Something changed: whoever changed it must not be shown what was before."""
        self.changes += 1
        self._kept.clear()


@once
def answers() -> _Answers:
    """The kept answers of this process."""
    return _Answers()


def _pieces(body: bytes) -> list[bytes]:
    """A body without the server's times: cut at each of them."""
    before, *rest = body.split(SERVER_TIME)
    pieces = []
    for part in rest:
        pieces.append(before + SERVER_TIME)
        before = part[part.index(b'"') :]
    return [*pieces, before]


def _hand_out() -> Response | None:
    if request.method != "GET" or request.query_string or not _is_kept_fresh():
        return None
    body = None if LOOKED in request.environ else kept_body(request.path)
    if body is None:
        g.read_fresh = time.monotonic(), answers().changes
        return None
    return Response(body, mimetype="application/json")


def kept_body(path: str) -> bytes | None:
    """The kept answer to a GET of this path, with the time of now; None for whoever has to read it anew."""
    pieces = answers().find(path)
    return None if pieces is None else to_iso(now()).encode().join(pieces)


def _keep(response: Response) -> Response:
    if request.method not in SAFE_METHODS:
        if _changed_something(response.status_code):
            answers().forget()
    elif "read_fresh" in g and response.status_code == OK:
        read_at, changes = g.read_fresh
        answers().keep(request.path, response.get_data(), read_at, changes)
    return response


def _changed_something(status: int) -> bool:
    """Whether a sale may be another one now. What is refused or only lines up changes none, and neither do sign-ups and
    log-ins: a crowd that does all of that would otherwise have every look at a sale read anew."""
    endpoint = request.endpoint or ""
    if status >= REFUSED_FROM or access_of(endpoint) is Access.PUBLIC:
        return False
    return status == CREATED or not asks_gate(endpoint)


def _is_kept_fresh() -> bool:
    return getattr(current_app.view_functions.get(request.endpoint or ""), "is_kept_fresh", False)
