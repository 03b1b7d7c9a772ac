"""Signing up, logging in and out in a browser: the API's own rules, with the tokens in cookies.

The refresh token of a browser is not rotated as the API's is. Two tabs that come back at the same moment would use it
twice, and one of them would be logged out (docs/decisions/0013-pages.md).
"""

from flask import Blueprint, redirect, render_template, request
from flask.wrappers import Response
from werkzeug.wrappers import Response as AnyResponse

from models import accounts
from models.errors import DomainError
from models.revocations import revoke
from models.user import User
from web import cookies
from web.access import public
from web.accounts import user_of
from web.auth import Identity, identity_of_token, optional_user
from web.cookies import CsrfError
from web.envelope import ok
from web.errors import status_of
from web.limits import limit_logins, limit_signups
from web.pages.forms import Form
from web.pages.paths import own_path
from web.schemas_accounts import LoginBody, SignUpBody
from web.unauthorized import UnauthorizedError

blueprint = Blueprint("session", __name__)

STALE = "This page was too old to send. Please try again"


# The forms are sent to /session/…, since POST /signup is an older dialect's (web/dialects). Whoever loads the address
# of a form that was refused is shown an empty one.
@blueprint.get("/login")
@blueprint.get("/session/login", endpoint="login_again")
@public
def login_page() -> AnyResponse:
    return redirect(own_path(request.args.get("next")), 303) if optional_user() else _show("login", Form(LoginBody))


@blueprint.post("/session/login")
@public
@limit_logins
def log_in() -> AnyResponse:
    form = Form(LoginBody)
    body = form.read()
    if body is None:
        return _show("login", form, 400)
    try:
        cookies.check_csrf(cookies.NOBODY)
        user = accounts.log_in(body.email, body.password)
    except DomainError as error:
        return _refuse("login", form, error)
    return _welcome(user)


@blueprint.get("/signup")
@blueprint.get("/session/signup", endpoint="signup_again")
@public
def signup_page() -> AnyResponse:
    return redirect(own_path(request.args.get("next")), 303) if optional_user() else _show("signup", Form(SignUpBody))


@blueprint.post("/session/signup")
@public
@limit_signups
def sign_up() -> AnyResponse:
    form = Form(SignUpBody)
    body = form.read()
    if body is None:
        return _show("signup", form, 400)
    try:
        cookies.check_csrf(cookies.NOBODY)
        # Whoever fills in a form becomes a customer, whatever else it said.
        user = accounts.sign_up(body.name, body.email, body.password)
    except DomainError as error:
        return _refuse("signup", form, error)
    return _welcome(user)


@blueprint.post("/session/logout")
@public
def log_out() -> AnyResponse:
    """The access token is revoked too: a copy of the cookie is worth nothing from now on."""
    response = redirect("/", 303)
    cookies.end_session(response)
    for token, is_refresh in ((cookies.refresh_cookie(), True), (cookies.access_cookie(), False)):
        identity = _known(token, is_refresh=is_refresh)
        if identity is not None:
            cookies.check_csrf(identity.user_id)
            revoke(identity.user_id, identity.jti, identity.expires_at)
    return response


@blueprint.post("/session/refresh")
@public
def refresh() -> Response:
    """A new access token for a page that is open. 401 where the session is over."""
    identity = _known(cookies.refresh_cookie(), is_refresh=True)
    if identity is None:
        raise UnauthorizedError("You are logged out")
    cookies.check_csrf(identity.user_id)
    response = ok(None, "Session renewed")
    cookies.renew_access(response, user_of(identity))
    return response


@blueprint.get("/session/resume")
@public
def resume() -> AnyResponse:
    """A new access token for a page that is about to open, and back to it; logged out where the session is over.

    GET, and without the CSRF token: it gives a browser what it has anyway, and changes nothing else.
    """
    response = redirect(own_path(request.args.get("next")), 303)
    identity = _known(cookies.refresh_cookie(), is_refresh=True)
    try:
        user = user_of(identity) if identity else None
    except (UnauthorizedError, accounts.AccountBlockedError):
        user = None
    if user is None:
        cookies.end_session(response)
    else:
        cookies.renew_access(response, user)
    return response


def _known(token: str | None, *, is_refresh: bool) -> Identity | None:
    try:
        return identity_of_token(token, refresh=is_refresh) if token else None
    except UnauthorizedError:
        return None


def _welcome(user: User) -> AnyResponse:
    response = redirect(own_path(request.args.get("next")), 303)
    cookies.begin_session(response, user)
    return response


def _refuse(page: str, form: Form[LoginBody] | Form[SignUpBody], error: DomainError) -> Response:
    form.refuse(error)
    if isinstance(error, CsrfError):
        form.problem = STALE
    return _show(page, form, status_of(error))


def _show(page: str, form: Form[LoginBody] | Form[SignUpBody], status: int = 200) -> Response:
    text = render_template(f"{page}.html", form=form, next=own_path(request.args.get("next")))
    return Response(text, status, mimetype="text/html")
