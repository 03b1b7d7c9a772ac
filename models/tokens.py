"""Tokens: what is in them, how they are signed and how they are read. The one place that knows the claims (RFC 7519).

Anything may mint a token without a web application: a tool that needs thousands calls `issue_access_token`.
"""

import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import uuid4

import jwt
import orjson

from models.clock import EPOCH, now
from models.settings import settings
from models.signing import key_id, signing_key, verifying_keys

ISSUER = "doorbuster"
AUDIENCE = "doorbuster"
ALGORITHM = "HS256"
ACCESS = "access"
REFRESH = "refresh"
# Two machines' clocks never agree to the second.
LEEWAY_SECONDS = 5
# A token of our own that says it is from the future was signed where the clock is ahead, or is read where it is behind:
# its holder is not to be turned away for that. No clock that anybody looks after is further off.
ISSUED_AHEAD_SECONDS_MAX = 900
# Ours are a third of it; what is longer was made up.
TOKEN_LENGTH_MAX = 1_024
# What ours have at the least; with any other, the library decides.
KNOWN_CLAIMS = frozenset({"sub", "role", "type", "jti", "gen", "iss", "aud", "iat", "exp"})


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """What a login hands out. `expires_in_seconds` is the life of the access token."""

    access_token: str
    refresh_token: str
    expires_in_seconds: int


class Claims(NamedTuple):
    """What a sound token says. `generation` is its user's when it was issued: see models/revocations.py.

    A tuple, as everything is that is made for each request: a frozen dataclass takes three times as long.
    """

    user_id: int
    role: str
    jti: str
    generation: int
    expires_s: float

    @property
    def expires_at(self) -> datetime:
        return EPOCH + timedelta(seconds=self.expires_s)


def issue_access_token(user_id: int, role: str, lifetime: timedelta | None = None, *, generation: int = 0) -> str:
    """A signed access token of a user; lives as long as the settings say unless told otherwise.

    `generation` is the user's `token_generation`: a new account's is 0.
    """
    return _sign(user_id, role, generation, ACCESS, lifetime or timedelta(minutes=settings().access_token_minutes))


def issue_refresh_token(user_id: int, role: str, lifetime: timedelta | None = None, *, generation: int = 0) -> str:
    """A signed refresh token of a user: good for one new pair of tokens, and for nothing else."""
    return _sign(user_id, role, generation, REFRESH, lifetime or timedelta(days=settings().refresh_token_days))


def issue_tokens(user_id: int, role: str, generation: int) -> IssuedTokens:
    return IssuedTokens(
        access_token=issue_access_token(user_id, role, generation=generation),
        refresh_token=issue_refresh_token(user_id, role, generation=generation),
        expires_in_seconds=settings().access_token_minutes * 60,
    )


def _sign(user_id: int, role: str, generation: int, kind: str, lifetime: timedelta) -> str:
    issued = now()
    claims: dict[str, str | int | bool | datetime] = {
        "sub": str(user_id),
        "role": str(role),
        "type": kind,
        "jti": uuid4().hex,
        "gen": generation,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": issued,
        "exp": issued + lifetime,
    }
    key = signing_key()
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id(key)})


def claims_of(decoded: dict[str, Any]) -> Claims:
    """The claims of a token that was found sound. Raises LookupError, ValueError, TypeError for what is not ours."""
    return Claims(
        user_id=int(decoded["sub"]),
        role=str(decoded["role"]),
        jti=str(decoded["jti"]),
        # Tokens from before there were generations have none.
        generation=int(decoded.get("gen", 0)),
        expires_s=decoded["exp"],
    )


def read_quickly(token: str, kind: str) -> Claims | None:
    """What a token says if it is one of ours, sound and in time; None if the library has to say what it is.

    It only ever says yes, and only to what we wrote ourselves: the header byte for byte one that we sign with, no claim
    that we do not set. So there is no choice of algorithm to be talked into, and every no, with its reason, is the
    library's (docs/decisions/0018-the-short-way-through-the-door.md).
    """
    header, _, rest = token.partition(".")
    payload, _, signature = rest.partition(".")
    key = _headers(verifying_keys()).get(header)
    if key is None or len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        return None
    signer = key.copy()
    signer.update(f"{header}.{payload}".encode())
    if not hmac.compare_digest(urlsafe_b64encode(signer.digest()).rstrip(b"="), signature.encode()):
        return None
    decoded = orjson.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    seconds = time.time()
    is_ours = decoded.keys() == KNOWN_CLAIMS and decoded["iss"] == ISSUER and decoded["aud"] == AUDIENCE
    is_from_now = is_ours and decoded["iat"] <= seconds + ISSUED_AHEAD_SECONDS_MAX
    is_in_time = is_from_now and decoded["exp"] > seconds - LEEWAY_SECONDS
    return claims_of(decoded) if is_in_time and decoded["type"] == kind else None


@lru_cache(maxsize=8)
def _headers(keys: tuple[str, ...]) -> dict[str, hmac.HMAC]:
    """The first parts of our tokens, as the library writes them, each with what signs behind it, to be copied."""
    return {
        jwt.encode({}, key, algorithm=ALGORITHM, headers={"kid": key_id(key)}).partition(".")[0]: hmac.new(
            key.encode(), digestmod="sha256"
        )
        for key in keys
    }
