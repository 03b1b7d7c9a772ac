"""Tokens: what is in them and how they are signed. The one place that knows the claims (RFC 7519).

Anything may mint a token without a web application: a tool that needs thousands calls `issue_access_token`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import jwt

from models.clock import now
from models.settings import settings

ISSUER = "doorbuster"
AUDIENCE = "doorbuster"
ALGORITHM = "HS256"
ACCESS = "access"
REFRESH = "refresh"
# Two machines' clocks never agree to the second.
LEEWAY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """What a login hands out. `expires_in_seconds` is the life of the access token."""

    access_token: str
    refresh_token: str
    expires_in_seconds: int


def issue_access_token(user_id: int, role: str, lifetime: timedelta | None = None) -> str:
    """A signed access token of a user; lives as long as the settings say unless told otherwise."""
    return _sign(user_id, role, ACCESS, lifetime or timedelta(minutes=settings().access_token_minutes))


def issue_refresh_token(user_id: int, role: str, lifetime: timedelta | None = None) -> str:
    """A signed refresh token of a user: good for one new pair of tokens, and for nothing else."""
    return _sign(user_id, role, REFRESH, lifetime or timedelta(days=settings().refresh_token_days))


def issue_tokens(user_id: int, role: str) -> IssuedTokens:
    return IssuedTokens(
        access_token=issue_access_token(user_id, role),
        refresh_token=issue_refresh_token(user_id, role),
        expires_in_seconds=settings().access_token_minutes * 60,
    )


def _sign(user_id: int, role: str, kind: str, lifetime: timedelta) -> str:
    issued = now()
    claims: dict[str, str | bool | datetime] = {
        "sub": str(user_id),
        "role": str(role),
        "type": kind,
        "jti": uuid4().hex,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": issued,
        "exp": issued + lifetime,
    }
    return jwt.encode(claims, settings().jwt_secret_key, algorithm=ALGORITHM)
