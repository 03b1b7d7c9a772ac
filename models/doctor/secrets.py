"""Secrets that are none, and settings that production should not have."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from models.doctor.finding import Finding, critical, warning
from models.settings import settings

# A random key of 32 letters has over twenty different ones.
DIFFERENT_LETTERS_MIN = 10
EXAMPLES = frozenset({"", "changeme", "password", "secret", "postgres", "doorbuster", "admin", "redis"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", None, ""})


def look() -> Iterator[Finding]:
    known = settings()
    if len(set(known.jwt_secret_key)) < DIFFERENT_LETTERS_MIN:
        what = "JWT_SECRET_KEY can be guessed: whoever does is anybody, an administrator too"
        yield critical("SECRET_GUESSABLE", what, 'python -c "import secrets; print(secrets.token_urlsafe(48))"')
    for name, url in (("DATABASE_URL", known.psycopg_url), ("REDIS_URL", known.redis_url)):
        address = urlsplit(url)
        if address.hostname not in LOOPBACK and (address.password or "") in EXAMPLES:
            what = f"{name} has a password that anybody would try first, or none"
            yield critical("SECRET_GUESSABLE", what, "a random one, on the server and in the setting")
    if known.environment != "production":
        return
    if not known.trusted_proxies:
        what = "no proxy is trusted: behind one, all buyers share its address and one limit"
        yield warning(
            "NO_TRUSTED_PROXY", what, "TRUSTED_PROXIES=the range of the proxies; 127.0.0.1/32 if there are none"
        )
    if not known.cookies_are_secure:
        what = "the cookies of the pages travel over plain HTTP"
        yield warning("COOKIES_IN_THE_OPEN", what, "COOKIE_SECURE=true, behind HTTPS")
