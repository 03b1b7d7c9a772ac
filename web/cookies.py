"""The cookies of the pages: who is logged in, and the proof that a request comes from a page of ours.

    doorbuster_access    the access token, for this origin's pages and API
    doorbuster_refresh   the refresh token, sent to /session alone
    doorbuster_csrf      readable by our scripts; sent back in a header or a form's field

Scripts never see a token. A cookie travels with every request to us, whoever made the browser send it, so a request
that changes something must also carry the value of `doorbuster_csrf`, which no other origin can read (OWASP's CSRF
Prevention Cheat Sheet, "Signed Double-Submit Cookie"). It is signed for one user: a value that was planted from
elsewhere is of no use.
"""

import hmac
import secrets
from datetime import timedelta

from flask import request
from werkzeug.wrappers import Response

from models import tokens
from models.errors import ForbiddenError
from models.settings import settings
from models.signing import is_sealed, seal
from models.user import User

ACCESS = "doorbuster_access"
REFRESH = "doorbuster_refresh"
CSRF = "doorbuster_csrf"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrfToken"
# Everything that reads the refresh token lies under this path.
REFRESH_PATH = "/session"
# Whoever is not logged in.
NOBODY = 0
PARTS = 3


class CsrfError(ForbiddenError):
    code = "CSRF_TOKEN_INVALID"
    message = "This did not come from a page of ours, or the page is too old: load it again"


def access_cookie() -> str | None:
    return request.cookies.get(ACCESS) or None


def is_by_cookie() -> bool:
    """Whether the request is a browser's of ours: a token in the header comes first (web/auth.py)."""
    return access_cookie() is not None and "Authorization" not in request.headers


def refresh_cookie() -> str | None:
    return request.cookies.get(REFRESH) or None


def csrf_user() -> int | None:
    """Whose the request's CSRF cookie is: an id, NOBODY, or None where there is none that we signed.

    A courtesy: it outlives the access token, so it tells that somebody was logged in here.
    """
    user, _, _ = request.cookies.get(CSRF, "").partition(".")
    if not user.isascii() or not user.isdigit():
        return None
    return int(user) if _is_signed(request.cookies[CSRF], int(user)) else None


def check_csrf(user_id: int) -> None:
    """Raises CsrfError unless the header or the form's field says what the cookie says, signed for this user."""
    kept = request.cookies.get(CSRF, "")
    sent = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    if not sent or not hmac.compare_digest(kept.encode(), sent.encode()) or not _is_signed(sent, user_id):
        raise CsrfError


def csrf_token(user_id: int) -> str:
    """The token of this browser for this user: the cookie's, or a new one, which `keep_csrf` has to set."""
    kept = request.cookies.get(CSRF, "")
    return kept if _is_signed(kept, user_id) else _new_token(user_id)


def keep_csrf(response: Response, token: str) -> None:
    """Set the CSRF cookie, if it is not there, for as long as the browser is open."""
    if request.cookies.get(CSRF) != token:
        response.set_cookie(CSRF, token, samesite="Lax", secure=_are_secure())


def begin_session(response: Response, user: User) -> None:
    """Log a browser in."""
    days = timedelta(days=settings().refresh_token_days)
    secure = _are_secure()
    token = tokens.issue_refresh_token(user.id, user.role, generation=user.token_generation)
    response.set_cookie(REFRESH, token, max_age=days, path=REFRESH_PATH, httponly=True, samesite="Lax", secure=secure)
    response.set_cookie(CSRF, _new_token(user.id), max_age=days, samesite="Lax", secure=secure)
    renew_access(response, user)


def renew_access(response: Response, user: User) -> None:
    """Give a browser that is logged in its next access token."""
    response.set_cookie(
        ACCESS,
        tokens.issue_access_token(user.id, user.role, generation=user.token_generation),
        max_age=timedelta(minutes=settings().access_token_minutes),
        httponly=True,
        samesite="Lax",
        secure=_are_secure(),
    )


def end_session(response: Response) -> None:
    """Log a browser out."""
    response.delete_cookie(ACCESS, httponly=True, samesite="Lax", secure=_are_secure())
    response.delete_cookie(REFRESH, path=REFRESH_PATH, httponly=True, samesite="Lax", secure=_are_secure())
    response.delete_cookie(CSRF, samesite="Lax", secure=_are_secure())


def _are_secure() -> bool:
    """Whether they travel over HTTPS alone: as the settings say, and where they say nothing, as this request came."""
    known = settings()
    return known.cookies_are_secure or (known.cookie_secure is None and request.is_secure)


def _new_token(user_id: int) -> str:
    nonce = secrets.token_urlsafe(18)
    return f"{user_id}.{nonce}.{seal(_said(user_id, nonce))}"


def _is_signed(token: str, user_id: int) -> bool:
    parts = token.split(".")
    if len(parts) != PARTS or parts[0] != str(user_id):
        return False
    return is_sealed(_said(user_id, parts[1]), parts[2])


def _said(user_id: int, nonce: str) -> str:
    return f"csrf:{user_id}:{nonce}"
