"""How often somebody may ask: flask-limiter on Redis, by user where the token is sound and by address otherwise."""

import hashlib
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any

from flask import Flask, request
from flask.wrappers import Response
from flask_limiter import Limiter, RateLimitExceeded
from redis.backoff import NoBackoff
from redis.retry import Retry

from models import rediskeys
from models.clock import now
from models.redisclient import REDIS_AWAY
from models.settings import settings
from web.auth import optional_user
from web.envelope import fail

# An IPv6 customer has a whole /64 of addresses to come from; it counts as one.
IPV6_PREFIX = 64
UNKNOWN_ADDRESS = "unknown"


def client_address() -> str:
    """The address of whoever asks.

    X-Forwarded-For is believed only as far as our own proxies wrote it: from the right, the first address that is no
    trusted proxy's. What stands further left anybody can claim.
    """
    address = request.remote_addr or UNKNOWN_ADDRESS
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
    while hops and settings().is_trusted_proxy(address):
        hop = hops.pop()
        try:
            address = str(ip_address(hop))
        except ValueError:
            break
    return address


def _network_of(address: str) -> str:
    """What counts as one asker: the address itself, or its /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX))}/{IPV6_PREFIX}"
    return address


def _by_address() -> str:
    return f"address:{_network_of(client_address())}"


def _by_user_or_address() -> str:
    user = optional_user()
    return f"user:{user.user_id}" if user else _by_address()


def _by_email_and_address() -> str:
    """One account from one address; the account is hashed, since keys are seen by operators."""
    body = request.get_json(silent=True)
    email = str(body.get("email", "")).strip().lower() if isinstance(body, dict) else ""
    return f"{_by_address()}:{hashlib.sha256(email.encode()).hexdigest()[:32]}"


limiter = Limiter(
    key_func=_by_user_or_address,
    default_limits=[lambda: settings().rate_limit_default],
    strategy="sliding-window-counter",
    # Without Redis each process counts for itself: more is let through, but nobody is refused for it.
    in_memory_fallback_enabled=True,
    swallow_errors=True,
)


@limiter.request_filter
def _is_exempt() -> bool:
    return settings().is_exempt(client_address())


def limit_purchases(view: Callable[..., Any]) -> Callable[..., Any]:
    """The limit of the routes that ask the gate; takes the place of the default one. By user."""
    limited: Callable[..., Any] = limiter.limit(lambda: settings().rate_limit_purchase)(view)
    return limited


def limit_signups(view: Callable[..., Any]) -> Callable[..., Any]:
    """By address, whoever asks."""
    limited: Callable[..., Any] = limiter.limit(lambda: settings().rate_limit_signup, key_func=_by_address)(view)
    return limited


def limit_logins(view: Callable[..., Any]) -> Callable[..., Any]:
    """By address, and by account and address for failures alone: a customer who knows the password is let in."""
    failures = limiter.limit(
        lambda: settings().rate_limit_login_address, key_func=_by_email_and_address, deduct_when=_is_failed_login
    )
    attempts = limiter.limit(lambda: settings().rate_limit_login, key_func=_by_address)
    limited: Callable[..., Any] = attempts(failures(view))
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
    """429 with when to come back (RFC 6585, section 4), in the draft's fields and in the older X- ones."""
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
