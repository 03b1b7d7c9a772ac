"""JSON in and out: orjson, with money as exact numbers and times in UTC."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider

from models.clock import to_iso

# Datetimes come to `_default`, so that they are written as everywhere else.
OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS


def _default(value: object) -> Any:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError("NaN and infinity are no JSON numbers")
        # Its own digits: a float would round what Decimal was chosen to keep.
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, datetime):
        return to_iso(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


class OrjsonProvider(JSONProvider):
    """Flask's JSON through orjson, which refuses what RFC 8259 does not allow: NaN, bad UTF-8, lone surrogates."""

    def dumps(self, obj: Any, **_: Any) -> str:
        return to_json(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """Raises ValueError, also for what is nested too deeply."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return json_response(self._prepare_response_obj(args, kwargs))


def json_response(body: Any, status: int = 200) -> Response:
    return Response(to_json(body), status, mimetype="application/json")


def to_json(value: Any) -> bytes:
    """UTF-8 JSON; Decimal as an exact number, datetimes as `models.clock.to_iso` writes them."""
    return orjson.dumps(value, _default, OPTIONS)
