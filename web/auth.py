"""Who is asking: tokens are checked before anything else of a request is looked at (web/access.py has the marks)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from flask import Flask, g, request
from flask_jwt_extended import JWTManager, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException, WrongTokenError
from jwt.exceptions import ExpiredSignatureError, InvalidTokenError

from models import socket_tickets, tokens
from models.clock import from_ms
from models.errors import DomainError, ForbiddenError, UnavailableError
from models.redisclient import REDIS_AWAY
from models.revocations import is_revoked
from models.settings import settings
from models.signing import key_named
from models.tokens import issue_access_token
from models.user import Role
from web.access import Access, access_of, asks_gate, is_look
from web.cookies import access_cookie, check_csrf
from web.unauthorized import TokenExpiredError, TokenMissingError, TokenRevokedError, UnauthorizedError

__all__ = [
    "Identity",
    "current_user",
    "identity_of",
    "identity_of_refresh_token",
    "identity_of_token",
    "init_auth",
    "issue_access_token",
    "optional_user",
    "redeem_ticket",
    "require_admin",
    "welcome_user",
]

log = structlog.get_logger()

SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever is behind a token. The role is the one the token was given out with, at most its lifetime ago."""

    user_id: int
    role: str
    jti: str
    generation: int
    expires_at: datetime

    @property
    def is_admin(self) -> bool:
        return self.role == Role.ADMIN


def init_auth(app: Flask) -> None:
    """Check tokens on every marked route, before bodies are read."""
    app.config.update(
        JWT_SECRET_KEY=settings().jwt_secret_key,
        JWT_ALGORITHM=tokens.ALGORITHM,
        JWT_TOKEN_LOCATION=["headers"],
        JWT_DECODE_ISSUER=tokens.ISSUER,
        JWT_DECODE_AUDIENCE=tokens.AUDIENCE,
        JWT_DECODE_LEEWAY=tokens.LEEWAY_SECONDS,
    )
    manager = JWTManager(app)

    @manager.decode_key_loader
    def key_of(header: dict[str, Any], _payload: dict[str, Any]) -> str:
        return key_named(header.get("kid"))

    app.before_request(_authenticate)


def current_user() -> Identity:
    """Whoever asks, on a route with @login_required or @admin_required. Raises UnauthorizedError elsewhere without
    a sound token, and CsrfError where a cookie's token comes without the proof that a page of ours sent it."""
    found = _read_caller()
    if isinstance(found, DomainError):
        raise found
    return found


def optional_user() -> Identity | None:
    """Whoever asks, if their token is sound, on any route.

    Revocation is not asked about: good for courtesy and for counting requests, not for authority.
    """
    found = _read_caller()
    return found if isinstance(found, Identity) else None


def welcome_user() -> Identity | None:
    """Whoever asks, if their token is sound and was not given back: for what a public page shows to them alone."""
    user = optional_user()
    try:
        if user is not None:
            _refuse_revoked(user)
    except TokenRevokedError:
        return None
    return user


def identity_of_token(token: str, *, refresh: bool = False) -> Identity:
    """Whoever is behind a token that came by another way than the header (a socket, a body).

    Raises UnauthorizedError, and redis errors where Redis is away: then nobody knows whether it was revoked.
    """
    identity = _verify(token, tokens.REFRESH if refresh else tokens.ACCESS)
    if is_revoked(identity.jti, identity.user_id, identity.generation):
        raise TokenRevokedError
    return identity


def identity_of_refresh_token(token: str) -> Identity:
    """Whoever a sound refresh token was given to, used or not: `models.revocations.spend` says which.

    Raises UnauthorizedError.
    """
    return _verify(token, tokens.REFRESH)


def redeem_ticket(ticket: str) -> Identity:
    """Whoever was given this one-time ticket for the WebSocket; it is void from now on.

    Raises UnauthorizedError, and redis errors where Redis is away.
    """
    holder = socket_tickets.redeem(ticket)
    if holder is None:
        raise UnauthorizedError("The ticket is not valid, or was used")
    if is_revoked(holder.jti, holder.user_id, holder.generation):
        raise TokenRevokedError
    return Identity(holder.user_id, holder.role, holder.jti, holder.generation, from_ms(holder.expires_ms))


def _authenticate() -> None:
    endpoint = request.endpoint or ""
    access = access_of(endpoint)
    if access in (None, Access.PUBLIC) or request.method == "OPTIONS":
        return
    identity = current_user()
    if asks_gate(endpoint) or is_look(endpoint):
        return
    _refuse_revoked(identity)
    if access is Access.ADMIN:
        _refuse_customers(identity)


def require_admin() -> Identity:
    """The admin who asks, for what a public route has for admins alone. Raises UnauthorizedError, ForbiddenError."""
    identity = current_user()
    _refuse_revoked(identity)
    _refuse_customers(identity)
    return identity


def _refuse_customers(identity: Identity) -> None:
    if not identity.is_admin:
        raise ForbiddenError("Only admins may do this")


def _refuse_revoked(identity: Identity) -> None:
    refuse_revoked(identity, is_reading=request.method in SAFE_METHODS)


def refuse_revoked(identity: Identity, *, is_reading: bool) -> None:
    """Raises TokenRevokedError; and UnavailableError where nobody can know and something is to be written.

    docs/decisions/0004-revocation-when-redis-is-away.md: while nobody can know, reading goes on, writing waits.
    """
    try:
        revoked = is_revoked(identity.jti, identity.user_id, identity.generation)
    except REDIS_AWAY as error:
        if not is_reading:
            raise UnavailableError("Tokens cannot be checked at this moment", code="TOKEN_CHECK_UNAVAILABLE") from error
        log.warning("revocation.unchecked", user=identity.user_id)
        return
    if revoked:
        raise TokenRevokedError


def _read_caller() -> Identity | DomainError:
    """The request's identity or what is wrong with it, worked out once a request: the limiter asks first."""
    caller: Identity | DomainError | None = g.get("caller")
    if caller is None:
        try:
            caller = _identify()
        except DomainError as error:
            caller = error
        g.caller = caller
    return caller


def _identify() -> Identity:
    """By the header, or else by the cookie of the pages, which proves nothing about who made the browser send it."""
    cookie = None if "HTTP_AUTHORIZATION" in request.environ else access_cookie()
    if cookie is None:
        return _verify(_bearer_token(), tokens.ACCESS)
    identity = _verify(cookie, tokens.ACCESS)
    if request.method not in SAFE_METHODS:
        check_csrf(identity.user_id)
    return identity


def _bearer_token() -> str:
    """The token of the Authorization header (RFC 6750, section 2.1; the scheme in any case, RFC 9110, section 11.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenMissingError
    return token.strip()


def _verify(token: str, kind: str) -> Identity:
    """Whoever a token of this kind was given to. Raises UnauthorizedError, however the token is wrong."""
    try:
        claims = tokens.read_quickly(token, kind) or _read(token, kind)
    except ExpiredSignatureError as error:
        raise TokenExpiredError from error
    except (InvalidTokenError, JWTExtendedException, LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise UnauthorizedError from error
    except RecursionError as error:
        # A forged token's claims are parsed before its signature is known to be wrong, however deep they nest.
        raise UnauthorizedError from error
    return identity_of(claims)


def identity_of(claims: tokens.Claims) -> Identity:
    """Whoever is behind a sound token."""
    return Identity(claims.user_id, claims.role, claims.jti, claims.generation, claims.expires_at)


def _read(token: str, kind: str) -> tokens.Claims:
    """What a token says, by the library. Raises its errors, and what a claim of the wrong shape raises."""
    claims = decode_token(token)
    if claims["type"] != kind:
        raise WrongTokenError(f"an {kind} token is needed")
    return tokens.claims_of(claims)
