"""What a request asks of its answer beside its body: how long to wait for it, and which try of it this is."""

import re

from flask import request

from models.errors import InvalidError
from models.settings import settings

KEY_LENGTH_MAX = 128
KEY = re.compile(rf"[!-~]{{1,{KEY_LENGTH_MAX}}}")
WAIT = re.compile(r"\d{1,4}(\.\d{1,3})?", re.ASCII)


def idempotency_key() -> str | None:
    """The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header-07): visible ASCII, one to a request.

    The draft writes it as a quoted string; a bare one is taken too, as nearly everybody sends it. Raises InvalidError.
    """
    header = request.headers.get("Idempotency-Key")
    return None if header is None else read_key(header)


def read_key(header: str) -> str:
    """The key in an Idempotency-Key header. Raises InvalidError."""
    key = header.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not KEY.fullmatch(key):
        raise InvalidError.field("Idempotency-Key", f"must be 1 to {KEY_LENGTH_MAX} visible ASCII characters")
    return key


def preferred_wait_seconds() -> float:
    """How long `Prefer: wait=N` (RFC 7240, section 4.3) is willing to wait, at most our own maximum; 0 if it is not.

    A preference that cannot be read is ignored, as section 2 asks.
    """
    return read_wait_seconds(",".join(request.headers.getlist("Prefer")))


def read_wait_seconds(header: str) -> float:
    """The wait in a Prefer header, or in several that were joined; see `preferred_wait_seconds`."""
    for preference in header.split(","):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait" and (seconds := read_seconds(value.strip().strip('"'))) is not None:
            return seconds
    return 0


def asked_wait_seconds() -> float:
    """How long `?wait=N` is willing to wait, at most our own maximum. Raises InvalidError."""
    value = request.args.get("wait")
    if value is None:
        return preferred_wait_seconds()
    seconds = read_seconds(value)
    if seconds is None:
        raise InvalidError.field("wait", "must be a number of seconds")
    return seconds


def read_seconds(text: str) -> float | None:
    """So many seconds, at most our own maximum; None where it is no such number."""
    return min(float(text), settings().wait_seconds_max) if WAIT.fullmatch(text) else None
