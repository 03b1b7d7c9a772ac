"""Accounts: signing up, logging in and out, and who one is."""

from typing import Any

import structlog
from flask.wrappers import Response

from models import accounts, socket_tickets, tokens
from models.clock import to_iso, to_ms
from models.errors import NotFoundError
from models.rediskeys import SOCKET_TICKET_SECONDS
from models.revocations import Spent, revoke, spend
from models.user import Role, User
from web.access import login_required, public
from web.auth import Identity, current_user, identity_of_refresh_token, identity_of_token
from web.body import optional_body
from web.cookies import begin_session, is_by_cookie
from web.envelope import ok
from web.limits import limit_logins, limit_password_changes, limit_signups
from web.openapi import api_blueprint, refusal
from web.schemas import Envelope
from web.schemas_accounts import (
    LoginBody,
    LogoutBody,
    PasswordChangeBody,
    RefreshBody,
    SessionView,
    SignUpBody,
    SocketTicketView,
    UserView,
)
from web.unauthorized import TokenRevokedError, UnauthorizedError

log = structlog.get_logger()

blueprint = api_blueprint("accounts", __name__, url_prefix="/api", tag="accounts", about="Who buys and who operates")

BLOCKED = refusal("`ACCOUNT_BLOCKED`")


def user_json(user: User) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "name": user.name,
        "email": user.email,
        "role": user.role,
        "createdAt": to_iso(user.created_at),
    }


@blueprint.post(
    "/auth/signup",
    responses={
        201: Envelope[SessionView],
        403: refusal("`ADMIN_SIGNUP_FORBIDDEN`: nobody becomes an admin by asking"),
        409: refusal("`EMAIL_TAKEN`"),
    },
)
@public
@limit_signups
def sign_up(body: SignUpBody) -> Response:
    """Make an account, and log in to it"""
    user = accounts.sign_up(body.name, body.email, body.password, Role(body.role))
    return ok(_session_json(user), "Account created successfully", status=201)


@blueprint.post(
    "/auth/login",
    responses={200: Envelope[SessionView], 401: refusal("`BAD_CREDENTIALS`"), 403: BLOCKED},
)
@public
@limit_logins
def log_in(body: LoginBody) -> Response:
    """Log in with an e-mail address and a password"""
    user = accounts.log_in(body.email, body.password)
    return ok(_session_json(user), "Logged in successfully")


@blueprint.post("/auth/refresh", responses={200: Envelope[SessionView], 401: refusal("`TOKEN_…`"), 403: BLOCKED})
@public
def refresh_session(body: RefreshBody) -> Response:
    """Get a new pair of tokens for a refresh token, once

    The refresh token is used up by this: the new pair holds its successor. One that comes again later is in two hands,
    and nobody knows whose is the thief's: both must log in again.
    """
    identity = identity_of_refresh_token(body.refresh_token)
    user = user_of(identity)
    spent = spend(identity.user_id, identity.jti, identity.expires_at)
    if spent is Spent.STOLEN:
        log.warning("tokens.stolen", user=user.id)
        accounts.refuse_tokens(user.id)
    if spent is not Spent.NOW:
        raise TokenRevokedError
    return ok(_session_json(user), "Tokens refreshed successfully")


@blueprint.post(
    "/auth/logout",
    responses={200: Envelope[None]},
    request_body={
        "required": False,
        "content": {"application/json": {"schema": LogoutBody.model_json_schema()}},
    },
)
@login_required
def log_out() -> Response:
    """Revoke the access token and, if it is sent along, the refresh token"""
    body = optional_body(LogoutBody)
    identity = current_user()
    if body.refresh_token:
        _revoke_refresh_token(body.refresh_token, of=identity)
    revoke(identity.user_id, identity.jti, identity.expires_at)
    return ok(None, "Logged out successfully")


@blueprint.get("/users/me", responses={200: Envelope[UserView]})
@login_required
def show_me() -> Response:
    """Who the token belongs to"""
    return ok(user_json(user_of(current_user())), "User retrieved successfully")


@blueprint.post(
    "/users/me/password",
    responses={
        200: Envelope[SessionView],
        403: refusal("`WRONG_PASSWORD`: the old one is not it"),
        409: refusal("`PASSWORD_CHANGED` at the same moment"),
    },
)
@login_required
@limit_password_changes
def change_password(body: PasswordChangeBody) -> Response:
    """Change one's password: every token from before is refused, and the answer holds new ones"""
    user = user_of(current_user())
    changed = accounts.change_password(user.id, body.old_password, body.new_password)
    response = ok(_session_json(changed.user), "Password changed successfully")
    if is_by_cookie():
        begin_session(response, changed.user)
    return response


@blueprint.post("/ws-tickets", responses={201: Envelope[SocketTicketView]})
@login_required
def create_socket_ticket() -> Response:
    """Get a one-time ticket to open the WebSocket with, where no header can be sent"""
    who = current_user()
    holder = socket_tickets.TicketHolder(who.user_id, who.role, who.jti, who.generation, to_ms(who.expires_at))
    data = {"ticket": socket_tickets.issue(holder), "expiresIn": SOCKET_TICKET_SECONDS}
    return ok(data, "Ticket created successfully", status=201)


def _session_json(user: User) -> dict[str, Any]:
    issued = tokens.issue_tokens(user.id, user.role, user.token_generation)
    return {
        "accessToken": issued.access_token,
        "refreshToken": issued.refresh_token,
        "expiresIn": issued.expires_in_seconds,
        "user": user_json(user),
    }


def user_of(identity: Identity) -> User:
    """The account behind a token, as it is now. Whether its tokens are still good is read with it: Redis may not know.

    Raises UnauthorizedError, also for an account that is gone, and AccountBlockedError.
    """
    try:
        user = accounts.active_user(identity.user_id)
    except NotFoundError as error:
        raise UnauthorizedError from error
    if identity.generation < user.token_generation:
        raise TokenRevokedError
    return user


def _revoke_refresh_token(token: str, *, of: Identity) -> None:
    """Nobody logs anybody else out, and a token that is over needs no revoking."""
    try:
        identity = identity_of_token(token, refresh=True)
    except UnauthorizedError:
        return
    if identity.user_id == of.user_id:
        revoke(identity.user_id, identity.jti, identity.expires_at)
