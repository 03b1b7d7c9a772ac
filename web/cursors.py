"""Cursors: where a page of an unbounded list goes on. Opaque to clients, and good for their own list alone."""

import base64
import binascii
from typing import Any

import orjson

from models.errors import InvalidError

CURSOR_LENGTH_MAX = 300


def encode_cursor(kind: str, *values: int | str) -> str:
    """A cursor of this kind of list that holds these values."""
    return base64.urlsafe_b64encode(orjson.dumps([kind, *values])).decode().rstrip("=")


def decode_cursor(kind: str, cursor: str, types: tuple[type, ...]) -> list[Any]:
    """The values of a cursor of this kind. Raises InvalidError for one of another list, or of none."""
    try:
        text = cursor[:CURSOR_LENGTH_MAX]
        found = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        raise InvalidError.field("cursor", "is no cursor of this list") from None
    matches = isinstance(found, list) and len(found) == len(types) + 1 and found[0] == kind
    if not matches or any(type(value) is not wanted for value, wanted in zip(found[1:], types, strict=True)):
        raise InvalidError.field("cursor", "is no cursor of this list")
    values: list[Any] = found[1:]
    return values
