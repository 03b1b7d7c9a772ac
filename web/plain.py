"""What a plain request says, read from its WSGI environment (PEP 3333); None wherever Flask has to look at it."""

import re
from io import BytesIO
from typing import TYPE_CHECKING

import orjson

from models import tokens
from models.gate import QUANTITY_MAX
from models.looks import Place
from models.tokens import Claims
from web.preferences import read_seconds, read_wait_seconds

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

JSON_TYPES = frozenset({"application/json", "application/json; charset=utf-8"})
# A quantity and nothing else is shorter; whatever is longer has something in it that Flask must see.
BODY_BYTES_MAX = 64
# Digits alone, and few: Python reads other scripts' digits as numbers, and refuses numbers that are too long.
LENGTH = re.compile(r"[0-9]{1,2}", re.ASCII)
# A purchase by its id, and by its sale and ticket.
PLACES = (
    re.compile(r"/api/purchases/([1-9][0-9]{0,17})-([1-9][0-9]{0,17})", re.ASCII),
    re.compile(r"/api/flash-sales/([1-9][0-9]{0,17})/purchases/([1-9][0-9]{0,17})", re.ASCII),
)


def holder_in(environ: "WSGIEnvironment") -> Claims | None:
    """Whoever a sound access token was given to; None if the library has to say what is wrong with it."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme != "Bearer":
        return None
    try:
        return tokens.read_quickly(token, tokens.ACCESS)
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return None


def quantity_in(environ: "WSGIEnvironment") -> int | None:
    """The quantity of a body that holds nothing else. What is read of the body is put back."""
    length = environ.get("CONTENT_LENGTH", "")
    if not LENGTH.fullmatch(length) or not 0 < int(length) <= BODY_BYTES_MAX:
        return None
    raw = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = BytesIO(raw)
    try:
        body = orjson.loads(raw)
    except ValueError:
        return None
    if not isinstance(body, dict) or body.keys() != {"quantity"}:
        return None
    quantity = body["quantity"]
    return quantity if type(quantity) is int and 1 <= quantity <= QUANTITY_MAX else None


def place_in(environ: "WSGIEnvironment") -> Place | None:
    """The purchase that is looked at, by its path."""
    if environ["REQUEST_METHOD"] != "GET":
        return None
    for form in PLACES:
        if (found := form.fullmatch(environ["PATH_INFO"])) is not None:
            return int(found[1]), int(found[2])
    return None


def wait_in(environ: "WSGIEnvironment") -> float | None:
    """How many seconds a look is willing to wait, by `?wait` and nothing else, or as it prefers."""
    query = environ.get("QUERY_STRING")
    if not query:
        return read_wait_seconds(environ.get("HTTP_PREFER", ""))
    name, _, value = query.partition("=")
    return read_seconds(value) if name == "wait" else None
