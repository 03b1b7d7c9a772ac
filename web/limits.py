"""How often somebody may ask: flask-limiter on Redis, by user where the token is sound and by address otherwise."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, g, request
from flask.wrappers import Response
from flask_limiter import Limit, Limiter, RateLimitExceeded
from redis.backoff import NoBackoff
from redis.retry import Retry

from models import rediskeys
from models.addresses import customer_of, parse_address
from models.clock import now
from models.redisclient import REDIS_AWAY
from models.settings import settings
from web.auth import optional_user
from web.envelope import fail

UNKNOWN_ADDRESS = "unknown"


def client_address() -> str:
    """The address of whoever asks, IPv4 in IPv6 as IPv4; worked out once a request.

    X-Forwarded-For is believed only as far as our own proxies wrote it: from the right, the first address that is no
    trusted proxy's. What stands further left anybody can claim.
    """
    if "client_address" not in g:
        g.client_address = _read_client_address()
    address: str = g.client_address
    return address


def _read_client_address() -> str:
    # A socket that listens on IPv6 and IPv4 shows the latter as ::ffff:10.0.0.1: no range of the settings knows that.
    peer = parse_address(request.remote_addr or "")
    address = str(peer) if peer else request.remote_addr or UNKNOWN_ADDRESS
    # Every header of that name, joined in the order that proxies added them.
    hops = [hop.strip() for hop in ",".join(request.headers.getlist("X-Forwarded-For")).split(",")]
    while hops and settings().is_trusted_proxy(address):
        hop = parse_address(hops.pop())
        if hop is None:
            break
        address = str(hop)
    return address


def _by_address() -> str:
    return f"address:{customer_of(client_address())}"


def _by_user_or_address() -> str:
    user = optional_user()
    return f"user:{user.user_id}" if user else _by_address()


def _by_email_and_address() -> str:
    """One account from one address; the account is hashed, since keys are seen by operators."""
    body = request.get_json(silent=True) if request.is_json else request.form
    email = str(body.get("email", "")).strip().lower() if isinstance(body, Mapping) else ""
    return f"{_by_address()}:{hashlib.sha256(email.encode()).hexdigest()[:32]}"


limiter = Limiter(
    key_func=_by_user_or_address,
    default_limits=[
        # Of one user, or of an address without one, on one route …
        lambda: settings().rate_limit_default,
        # … and of an address on all those routes together, however many accounts it has.
        Limit(lambda: settings().rate_limit_address, key_function=_by_address, scope="all", shared=True),
    ],
    strategy="sliding-window-counter",
    # Without Redis each process counts for itself: more is let through, but nobody is refused for it.
    in_memory_fallback_enabled=True,
    swallow_errors=True,
)


@limiter.request_filter
def _is_exempt() -> bool:
    return settings().is_exempt(client_address())


def limit_purchases(view: Callable[..., Any]) -> Callable[..., Any]:
    """The limit of all the routes that ask the gate together; takes the place of the default one. By user."""
    limited: Callable[..., Any] = limiter.shared_limit(lambda: settings().rate_limit_purchase, "purchases")(view)
    return limited


def limit_signups(view: Callable[..., Any]) -> Callable[..., Any]:
    """By address, whoever asks."""
    shared = limiter.shared_limit(lambda: settings().rate_limit_signup, "signups", key_func=_by_address)
    limited: Callable[..., Any] = shared(view)
    return limited


def limit_logins(view: Callable[..., Any]) -> Callable[..., Any]:
    """By address, and by account and address for failures alone: a customer who knows the password is let in."""
    failures = limiter.shared_limit(
        lambda: settings().rate_limit_login_address,
        "failed logins",
        key_func=_by_email_and_address,
        deduct_when=_is_failed_login,
    )
    attempts = limiter.shared_limit(lambda: settings().rate_limit_login, "logins", key_func=_by_address)
    limited: Callable[..., Any] = attempts(failures(view))
    return limited


def limit_password_changes(view: Callable[..., Any]) -> Callable[..., Any]:
    """By account, as log-ins are: whoever holds a token must not try passwords out with it."""
    failures = limiter.limit(
        lambda: settings().rate_limit_login_address,
        deduct_when=lambda response: response.status_code == 403,  # noqa: PLR2004 - Forbidden
    )
    limited: Callable[..., Any] = limiter.limit(lambda: settings().rate_limit_login)(failures(view))
    return limited


def _is_failed_login(response: Response) -> bool:
    return response.status_code == 401  # noqa: PLR2004 - Unauthorized


def init_limits(app: Flask) -> None:
    """Count requests in Redis; every wait on it is bounded."""
    seconds = settings().redis_timeout_seconds
    app.config.update(
        RATELIMIT_STORAGE_URI=settings().redis_url,
        RATELIMIT_STORAGE_OPTIONS={
            "key_prefix": rediskeys.LIMITS_PREFIX,
            "socket_connect_timeout": seconds,
            "socket_timeout": seconds,
            "retry": Retry(NoBackoff(), 0),
        },
    )
    limiter.init_app(app)
    app.register_error_handler(RateLimitExceeded, _refuse)
    app.after_request(_name_the_policy)


def _refuse(_error: RateLimitExceeded) -> Response:
    """429 with when to come back (RFC 6585, section 4), in the draft's field, its older ones and X- ones."""
    current = limiter.current_limit
    if current is None:
        return fail(429, "RATE_LIMITED", "Too many requests", headers={"Retry-After": "1"})
    amount, period = current.limit.amount, current.limit.get_expiry()
    try:
        wait = min(period, max(1, current.reset_at - int(now().timestamp())))
    except REDIS_AWAY:
        wait = period
    return fail(
        429,
        "RATE_LIMITED",
        f"Too many requests; try again in {wait} s",
        headers={
            "Retry-After": str(wait),
            "RateLimit": f'"{amount}-in-{period}";r=0;t={wait}',
            "RateLimit-Limit": str(amount),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": str(wait),
            "X-RateLimit-Limit": str(amount),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(now().timestamp()) + wait),
        },
    )


def _name_the_policy(response: Response) -> Response:
    """The limits that counted this request (draft-ietf-httpapi-ratelimit-headers-10, RateLimit-Policy).

    What is left of them would cost another trip to Redis on every request, so it is told only on a 429.
    """
    counted = [(each.limit.amount, each.limit.get_expiry()) for each in limiter.current_limits]
    if counted:
        named = (f'"{amount}-in-{seconds}";q={amount};w={seconds}' for amount, seconds in counted)
        response.headers["RateLimit-Policy"] = ", ".join(named)
    return response
