"""How often somebody may ask: flask-limiter on Redis, by user where the token is sound and by address otherwise.

The routes that ask the gate for units are counted by the gate, and looks at a purchase by models/look.lua, in the trip
to Redis that they make anyway.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from flask import Flask, g, request
from flask.wrappers import Response
from flask_limiter import Limit as RouteLimit
from flask_limiter import Limiter, RateLimitExceeded
from limits import parse_many
from redis.backoff import NoBackoff
from redis.retry import Retry

from models import rediskeys
from models.addresses import customer_of, one_form
from models.clock import now
from models.gate import Limit, TooOftenError
from models.redisclient import REDIS_AWAY
from models.rediscluster import UNSETTLED
from models.redisurl import parse_cluster
from models.settings import settings
from web.access import asks_gate, is_look
from web.auth import optional_user
from web.envelope import fail

UNKNOWN_ADDRESS = "unknown"


def client_address() -> str:
    """The address of whoever asks, IPv4 in IPv6 as IPv4; worked out once a request.

    X-Forwarded-For is believed only as far as our own proxies wrote it: from the right, the first address that is no
    trusted proxy's. What stands further left anybody can claim.
    """
    if "client_address" not in g:
        g.client_address = address_in(request.environ)
    address: str = g.client_address
    return address


def address_in(environ: Mapping[str, Any]) -> str:
    """The client's address in a WSGI environment; see `client_address`."""
    seen = environ.get("REMOTE_ADDR") or ""
    # A socket that listens on IPv6 and IPv4 shows the latter as ::ffff:10.0.0.1: no range of the settings knows that.
    address = one_form(seen) or seen or UNKNOWN_ADDRESS
    if not settings().is_trusted_proxy(address):
        return address
    # Every header of that name, joined by the server in the order that proxies added them (PEP 3333).
    hops = [hop.strip() for hop in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    while hops and settings().is_trusted_proxy(address):
        hop = one_form(hops.pop())
        if hop is None:
            break
        address = hop
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
        RouteLimit(lambda: settings().rate_limit_address, key_function=_by_address, scope="all", shared=True),
    ],
    strategy="sliding-window-counter",
    # Without Redis each process counts for itself: more is let through, but nobody is refused for it.
    in_memory_fallback_enabled=True,
    swallow_errors=True,
)


@limiter.request_filter
def _is_exempt() -> bool:
    return settings().is_exempt(client_address())


def purchase_limits() -> tuple[Limit, ...]:
    """The limits of all the routes that ask the gate together, by user; the gate counts them (models/limit.lua)."""
    return _read_limits(settings().rate_limit_purchase)


def look_limits() -> tuple[tuple[Limit, ...], tuple[Limit, ...]]:
    """The limits of looks at purchases, by user and by address; the look counts them (models/look.lua)."""
    return _read_limits(settings().rate_limit_default), _read_limits(settings().rate_limit_address)


@lru_cache(maxsize=8)
def _read_limits(text: str) -> tuple[Limit, ...]:
    return tuple(Limit(item.amount, item.get_expiry()) for item in parse_many(text))


def note_left(left: int | None) -> None:
    """Have the answer say how many more requests the gate lets in now."""
    g.purchases_left = left


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
    where, options = _storage()
    app.config.update(
        RATELIMIT_STORAGE_URI=where,
        RATELIMIT_STORAGE_OPTIONS={
            "key_prefix": rediskeys.LIMITS_PREFIX,
            "socket_connect_timeout": seconds,
            "socket_timeout": seconds,
            "retry": Retry(NoBackoff(), 0),
            **options,
        },
    )
    limiter.init_app(app)
    _leave_to_the_scripts(app)
    app.register_error_handler(RateLimitExceeded, _refuse)
    app.register_error_handler(TooOftenError, _refuse_at_gate)
    app.after_request(_name_the_policy)


def _storage() -> tuple[str, dict[str, Any]]:
    """REDIS_URL as the library writes it: a cluster's nodes alone, with the rest beside them."""
    url = settings().redis_url
    if not settings().redis_is_cluster:
        return url, {}
    address = parse_cluster(url)
    nodes = ",".join(f"{host}:{port}" for host, port in address.nodes)
    return f"redis+cluster://{nodes}", {"require_full_coverage": False, **address.options}


def _leave_to_the_scripts(app: Flask) -> None:
    """flask-limiter looks up the limits of every request, before and after it, also where it has none to count."""
    count = app.before_request_funcs[None].pop()
    count_afterwards = app.after_request_funcs[None].pop()

    @app.before_request
    def count_unless_a_script_does() -> Any:
        return None if _is_counted_by_script() else count()

    @app.after_request
    def count_afterwards_unless_a_script_did(response: Response) -> Any:
        return response if _is_counted_by_script() else count_afterwards(response)


def _is_counted_by_script() -> bool:
    endpoint = request.endpoint or ""
    return asks_gate(endpoint) or is_look(endpoint)


def _refuse_at_gate(error: TooOftenError) -> Response:
    return _too_many(error.limit.amount, error.limit.seconds, math.ceil(error.wait_ms / 1000))


def _refuse(_error: RateLimitExceeded) -> Response:
    current = limiter.current_limit
    if current is None:
        return fail(429, "RATE_LIMITED", "Too many requests", headers={"Retry-After": "1"})
    amount, period = current.limit.amount, current.limit.get_expiry()
    try:
        wait = min(period, max(1, current.reset_at - int(now().timestamp())))
    except (*REDIS_AWAY, *UNSETTLED):
        wait = period
    return _too_many(amount, period, wait)


def _too_many(amount: int, period: int, wait: int) -> Response:
    """429 with when to come back (RFC 6585, section 4), in the draft's field, its older ones and X- ones.

    At most `amount` requests in `period` seconds; one more is let in after `wait` seconds.
    """
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
    """The limits that counted this request, and what the gate knows to be left of them
    (draft-ietf-httpapi-ratelimit-headers-10, RateLimit-Policy and RateLimit).

    What is left of other routes' limits would cost another trip to Redis on every request: it is told only on a 429.
    """
    if _is_counted_by_script():
        if not _is_exempt():
            left = g.get("purchases_left")
            response.headers.update(purchase_policy(left) if asks_gate(request.endpoint or "") else look_policy())
        return response
    counted = tuple(Limit(each.limit.amount, each.limit.get_expiry()) for each in limiter.current_limits)
    if counted:
        response.headers["RateLimit-Policy"], _ = _policy_of(counted)
    return response


def purchase_policy(left: int | None) -> dict[str, str]:
    """The headers that name the gate's limits, and how many more requests they let in now; None: nobody knows."""
    policy, names = _policy_of(purchase_limits())
    if left is None or len(names) != 1:
        # Of several, the gate does not say which is the tightest.
        return {"RateLimit-Policy": policy}
    return {"RateLimit-Policy": policy, "RateLimit": f'"{names[0]}";r={left}'}


def look_policy() -> dict[str, str]:
    """The headers that name the limits of looks at purchases."""
    of_user, of_address = look_limits()
    policy, _ = _policy_of(of_user + of_address)
    return {"RateLimit-Policy": policy}


@lru_cache(maxsize=64)
def _policy_of(limits: tuple[Limit, ...]) -> tuple[str, list[str]]:
    """The limits as RateLimit-Policy writes them, and their names."""
    names = [f"{each.amount}-in-{each.seconds}" for each in limits]
    policy = (f'"{name}";q={each.amount};w={each.seconds}' for name, each in zip(names, limits, strict=True))
    return ", ".join(policy), names
