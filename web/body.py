"""Bodies: strict JSON or a refusal that names what is wrong, before any schema is asked.

flask-openapi reads a body "silently": what it cannot parse becomes None, and a JSON text becomes the JSON inside the
text. Here a body is JSON (RFC 8259), of the declared type, of a bounded size, and an object, or it is refused.
"""

import math
from collections.abc import Iterator
from typing import Any, TypeVar

from flask import Flask, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from models.errors import FieldError, InvalidError
from web.schemas import Body

B = TypeVar("B", bound=Body)

MALFORMED = "MALFORMED_JSON"
# PostgreSQL's text cannot hold it, and no name or address has it.
NUL = "\x00"
NO_NUL = "must not contain NUL characters"
NO_UTF8 = "must be percent-encoded UTF-8 (RFC 3986, section 2.5)"


def init_bodies(app: Flask) -> None:
    """Check the body of every view that takes one, and the query string of every request."""
    with_body = {name for name, view in app.view_functions.items() if "body" in getattr(view, "__annotations__", {})}

    @app.before_request
    def check() -> None:
        _check_query()
        # A browser that asks first (CORS) sends OPTIONS without the body that is to come.
        if request.endpoint in with_body and request.method != "OPTIONS":
            read_json()


def read_json() -> dict[str, Any]:
    """The request's JSON object.

    Raises InvalidError for what is no JSON object or holds NUL, and werkzeug's 413 and 415.
    """
    _check_length()
    try:
        body = request.get_json()
    except BadRequest as error:
        raise _malformed("must be JSON in UTF-8") from error
    if not isinstance(body, dict):
        raise _malformed("must be a JSON object")
    # In JSON a NUL can only stand as this escape, so most bodies need no walk.
    if b"\\u0000" in request.get_data():
        named = [FieldError(path, NO_NUL) for path in _paths_with_nul(body)]
        if named:
            raise InvalidError(fields=named[:20])
    return body


def _check_length() -> None:
    """A body that comes in chunks says nothing of its length, and werkzeug cuts it off at the limit without a word."""
    if request.content_length is None and len(request.get_data()) >= (request.max_content_length or math.inf):
        raise RequestEntityTooLarge


def _malformed(why: str) -> InvalidError:
    return InvalidError(f"The body {why}", code=MALFORMED, fields=[FieldError("body", why)])


def optional_body(schema: type[B]) -> B:
    """The body by its schema, or the schema's defaults where nothing was sent. Raises as `read_json` does."""
    return schema.model_validate(read_json() if request.get_data() else {})


def _check_query() -> None:
    if NUL in request.path:
        raise InvalidError.field("path", NO_NUL)
    query = request.query_string
    if not query.isascii():
        # werkzeug reads what nobody percent-encoded as UTF-8, and fails where it is not.
        try:
            query.decode()
        except UnicodeDecodeError as error:
            raise InvalidError.field("query", NO_UTF8) from error
    if b"%00" in query:
        named = [FieldError(name.replace(NUL, ""), NO_NUL) for name in _args_with_nul()]
        raise InvalidError(fields=named or [FieldError("query", NO_NUL)])


def _args_with_nul() -> Iterator[str]:
    for name, value in request.args.items(multi=True):
        if NUL in name or NUL in value:
            yield name


def _paths_with_nul(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, str):
        if NUL in value:
            yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            if NUL in name:
                yield path or "body"
            yield from _paths_with_nul(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths_with_nul(inner, f"{path}.{index}" if path else str(index))
