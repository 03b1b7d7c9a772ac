"""What production does not start with: a secret that is missing, short or known to everybody, and a door left open.

Only `models/settings.py` calls this, before anything else of a process has begun.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from models.settings import Network, Settings

PASSWORD_LENGTH_MIN = 12
# Of a random key in hexadecimal nearly all sixteen occur; "xxxxxxxx…" and "12341234…" have few.
DIFFERENT_CHARACTERS_MIN = 6
# What stands in manuals and examples instead of a secret.
PLACEHOLDERS = ("changeme", "change-me", "change_me", "placeholder", "your-secret", "your_secret", "secret-key")


def problems(known: "Settings") -> Iterator[str]:
    """What is wrong with the settings of a production, each as a line that names the setting and holds no secret."""
    if known.allow_admin_signup:
        yield "ALLOW_ADMIN_SIGNUP is not allowed in production: use `flask users create-admin`"
    if not known.jwt_secret_key:
        yield "JWT_SECRET_KEY must be set in production"
    for key in filter(None, (known.jwt_secret_key, *known.jwt_previous_keys)):
        if is_guessable(key):
            yield "JWT_SECRET_KEY and JWT_PREVIOUS_KEYS must be random: `openssl rand -hex 32` makes one"
    yield from _bad_passwords(known)
    for name, networks in (("TRUSTED_PROXIES", known.trusted_proxies), ("RATE_LIMIT_EXEMPT", known.rate_limit_exempt)):
        if any(is_everybody(network) for network in networks):
            yield f"{name} must not name everybody in production: then nobody has an address, and nobody a limit"


def _bad_passwords(known: "Settings") -> Iterator[str]:
    """Of the servers, in their addresses, and of Flower. Only PostgreSQL has other ways to know its clients."""
    secret = {
        "DATABASE_URL": password_of(known.database_url),
        "DATABASE_REPLICA_URL": password_of(known.database_replica_url),
        "REDIS_URL": password_of(known.redis_url),
        "BROKER_URL": password_of(known.broker_url),
    }
    if known.redis_url and secret["REDIS_URL"] is None:
        yield "REDIS_URL must hold a password in production: whoever writes there fills the line"
    if known.metrics_token:
        secret["METRICS_TOKEN"] = known.metrics_token
    if known.flower_basic_auth:
        user, _, secret["FLOWER_BASIC_AUTH"] = known.flower_basic_auth.partition(":")
        if not user:
            yield "FLOWER_BASIC_AUTH must be user:password"
    for name, password in secret.items():
        if password is not None and (len(password) < PASSWORD_LENGTH_MIN or is_guessable(password)):
            yield f"The secret in {name} must be random, of at least {PASSWORD_LENGTH_MIN} characters, in production"


def password_of(url: str) -> str | None:
    """The password in an address, None where there is none."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return None
    return None if password is None else unquote(password)


def is_guessable(secret: str) -> bool:
    """Whether somebody who has read the manuals would try this one. Says nothing about length."""
    return len(set(secret)) < DIFFERENT_CHARACTERS_MIN or any(word in secret.lower() for word in PLACEHOLDERS)


def is_everybody(network: "Network") -> bool:
    return network.prefixlen == 0
