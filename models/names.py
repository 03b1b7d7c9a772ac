"""Names that nobody else gives: for requests, not for secrets. They are unlike, and whoever saw many could guess more.

From Python's own generator, which begins anew in every process that is forked: the system's takes ten times as long,
and is asked twice for each request.
"""

import random
from base64 import urlsafe_b64encode

NONCE_BYTES = 12


def request_name() -> str:
    """32 hexadecimal digits."""
    return f"{random.getrandbits(128):032x}"


def nonce() -> str:
    """Of an entry in a line: 16 characters, of 96 bits."""
    return urlsafe_b64encode(random.randbytes(NONCE_BYTES)).decode()  # noqa: S311 - no secret
