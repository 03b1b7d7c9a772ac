"""Passwords: argon2id, with the same work done for an address that nobody has."""

import secrets
import threading
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from models.errors import UnavailableError
from models.runtime import on_gevent

P = ParamSpec("P")
T = TypeVar("T")

LENGTH_MIN = 6
LENGTH_MAX = 128

# OWASP's Password Storage Cheat Sheet, "Argon2id": 19 MiB, 2 passes, 1 lane. Everybody logs in in the minute before a
# sale, so RFC 9106's 64 MiB and 3 passes would cost us four times the line at the door.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# Bounds memory (19 MiB each) and leaves cores for buyers while everybody logs in.
HASHING_AT_ONCE_MAX = 4
WAIT_SECONDS_MAX = 5.0
_places = threading.BoundedSemaphore(HASHING_AT_ONCE_MAX)


def hash_password(password: str) -> str:
    """The hash to keep, with its salt and parameters in it. Raises UnavailableError where too many hash at once."""
    return _offload(_hasher.hash, password)


def is_right_password(password_hash: str | None, password: str) -> bool:
    """Whether the password belongs to the hash. None (no such account, or one without a password) takes as long as
    a wrong password does. Raises UnavailableError where too many hash at once.
    """
    matches = _offload(_verify, password_hash or _nobodys_hash(), password)
    return matches and bool(password_hash)


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(password_hash)


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe())


def _offload(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do the work where it stops nobody else: under gevent in a real thread, since argon2 never yields to the loop."""
    if not _places.acquire(timeout=WAIT_SECONDS_MAX):
        raise UnavailableError("Too many people log in at this moment; try again", code="BUSY")
    try:
        if not on_gevent():
            return work(*args, **kwargs)
        # Imported here: only live runs on gevent. It ships no types.
        from gevent import get_hub  # type: ignore[import-untyped]  # noqa: PLC0415

        done: T = get_hub().threadpool.apply(work, args, kwargs)
        return done
    finally:
        _places.release()
