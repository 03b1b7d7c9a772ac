"""The keys that sign: tokens, and whatever else must come back as it was given out.

The first key signs, every key verifies: so a key is changed without logging anybody out. The new one becomes
JWT_SECRET_KEY and the old one stays in JWT_PREVIOUS_KEYS until nothing that it signed is still good.
"""

import hashlib
import hmac
from functools import lru_cache

from models.settings import settings

KEY_ID_LENGTH = 12


def signing_key() -> str:
    return settings().jwt_secret_key


def verifying_keys() -> tuple[str, ...]:
    """Every key whose signatures count, the signing one first."""
    known = settings()
    return (known.jwt_secret_key, *known.jwt_previous_keys)


@lru_cache(maxsize=64)
def key_id(key: str) -> str:
    """The name of a key in a token's header (`kid`, RFC 7515, section 4.1.4): says which it is and not what it is."""
    return hmac.new(key.encode(), b"key id", hashlib.sha256).hexdigest()[:KEY_ID_LENGTH]


def key_named(name: str | None) -> str:
    """The key of this name, or the signing one: a token without a sound `kid` has to stand up to that."""
    return next((key for key in verifying_keys() if key_id(key) == name), signing_key())


def seal(message: str) -> str:
    """A signature of a message, in hexadecimal. Begin the message with a label: one use's seal is then no other's."""
    return _seal(message, signing_key())


def is_sealed(message: str, seal: str) -> bool:
    """Whether one of our keys made this seal of this message."""
    return any(hmac.compare_digest(seal.encode(), _seal(message, key).encode()) for key in verifying_keys())


def _seal(message: str, key: str) -> str:
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()
