"""Who comes to the door, and with what: the columns of the matrix.

Every token that is not sound says that it is the admin's: whoever took it at its word would let the worst in.
"""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt

from models.clock import now
from models.revocations import revoke
from models.settings import settings
from models.signing import key_id
from models.tokens import issue_access_token, issue_refresh_token
from tests.matrix.world import ADMIN, ANOTHER, BLOCKED, CUSTOMER, GONE

OVER = timedelta(seconds=-30)


@dataclass(frozen=True)
class Caller:
    """What somebody shows: a token of each kind, and the user whom their browser's CSRF cookie was signed for."""

    access: str | None = None
    refresh: str | None = None
    user_id: int = 0
    # A page of another site makes the browser send its cookies; it cannot read them, so it proves nothing.
    from_another_site: bool = False


def sound(user_id: int, role: str, lifetime: timedelta | None = None, **more: Any) -> Caller:
    access, refresh = issue_access_token(user_id, role, lifetime), issue_refresh_token(user_id, role, lifetime)
    return Caller(access, refresh, user_id, **more)


def revoked() -> Caller:
    caller = sound(ADMIN, "admin")
    for token in (caller.access, caller.refresh):
        claims = jwt.decode(token or "", options={"verify_signature": False})
        revoke(int(claims["sub"]), claims["jti"], now() + timedelta(hours=1))
    return caller


def of_the_other_kind() -> Caller:
    caller = sound(ADMIN, "admin")
    return Caller(caller.refresh, caller.access, ADMIN)


def _claims(kind: str) -> dict[str, Any]:
    return {
        "sub": str(ADMIN),
        "role": "admin",
        "type": kind,
        "jti": "0" * 32,
        "gen": 0,
        "iss": "doorbuster",
        "aud": "doorbuster",
        "iat": now() - timedelta(seconds=1),
        "exp": now() + timedelta(minutes=1),
    }


def _signed(kind: str, key: str | None = None, kid: str | None = None, **claims: Any) -> str:
    ours = settings().jwt_secret_key
    return jwt.encode(_claims(kind) | claims, key or ours, "HS256", headers={"kid": kid or key_id(ours)})


def _unsigned(kind: str, algorithm: str, signature: str = "") -> str:
    """A token with a header of one's own choice."""
    header = {"alg": algorithm, "typ": "JWT", "kid": key_id(settings().jwt_secret_key)}
    claims = {
        name: value.timestamp() if hasattr(value, "timestamp") else value for name, value in _claims(kind).items()
    }
    parts = (urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in (header, claims))
    return f"{'.'.join(parts)}.{signature}"


def _raised(kind: str) -> str:
    """The customer's own token, with another role written into it."""
    issue = issue_access_token if kind == "access" else issue_refresh_token
    signature = issue(CUSTOMER, "customer").rpartition(".")[2]
    return f"{_signed(kind).rpartition('.')[0]}.{signature}"


def _for_another_algorithm(kind: str) -> str:
    signed = _unsigned(kind, "HS512").rstrip(".")
    made = hmac.digest(settings().jwt_secret_key.encode(), signed.encode(), hashlib.sha512)
    return f"{signed}.{urlsafe_b64encode(made).rstrip(b'=').decode()}"


# By what is wrong with them; each makes a token of the kind that is asked for.
FORGERIES: dict[str, Callable[[str], str]] = {
    "no algorithm": lambda kind: _unsigned(kind, "none"),
    "no algorithm, in capitals": lambda kind: _unsigned(kind, "NONE"),
    "an algorithm that is not ours": _for_another_algorithm,
    "no signature": lambda kind: _unsigned(kind, "HS256"),
    "a key of somebody else's": lambda kind: _signed(kind, key="somebody else's key, of forty characters"),
    "a key of somebody else's, by its name": lambda kind: _signed(
        kind, key="somebody else's key, of forty characters", kid=key_id("somebody else's key, of forty characters")
    ),
    "another audience": lambda kind: _signed(kind, aud="another shop"),
    "another issuer": lambda kind: _signed(kind, iss="another shop"),
    "another role written in": _raised,
    "no token at all": lambda _: "not-a-token",
}


def _forged(name: str) -> Caller:
    return Caller(FORGERIES[name]("access"), FORGERIES[name]("refresh"), 0)


# By column; each with every way to be of its kind. All of them get the same answer.
CALLERS: dict[str, dict[str, Callable[[], Caller]]] = {
    "nobody": {"": Caller},
    "customer": {"": lambda: sound(CUSTOMER, "customer")},
    "another": {"": lambda: sound(ANOTHER, "customer")},
    "admin": {"": lambda: sound(ADMIN, "admin")},
    "blocked": {"": lambda: sound(BLOCKED, "customer")},
    "gone": {"": lambda: sound(GONE, "customer")},
    "expired": {"": lambda: sound(ADMIN, "admin", OVER)},
    "revoked": {"": revoked},
    "forged": {name: (lambda name=name: _forged(name)) for name in FORGERIES},
    "other kind": {"": of_the_other_kind},
    "other site": {"": lambda: sound(ADMIN, "admin", from_another_site=True)},
}

# What a 401 says to each of them, where the table does not name another code.
WHY_NOT = {
    "nobody": "TOKEN_MISSING",
    "blocked": "TOKEN_REVOKED",
    "expired": "TOKEN_EXPIRED",
    "revoked": "TOKEN_REVOKED",
    "forged": "TOKEN_INVALID",
    "other kind": "TOKEN_INVALID",
    "gone": "TOKEN_INVALID",
}
# And a 403.
MAY_NOT = {"other site": "CSRF_TOKEN_INVALID"}
