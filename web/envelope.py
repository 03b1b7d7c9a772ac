"""The one shape of every answer: `ok()` for success, `fail()` for refusal."""

from collections.abc import Iterable, Mapping
from typing import Any

from flask import Response

from models import metrics
from models.errors import FieldError
from web.json import json_response


def ok(
    data: Any,
    message: str,
    *,
    status: int = 200,
    meta: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`{"success": true, "message", "data", "meta"?}`."""
    body = success_body(data, message)
    if meta is not None:
        body["meta"] = meta
    return respond(body, status, headers)


def fail(
    status: int,
    code: str,
    message: str,
    *,
    fields: Iterable[FieldError] = (),
    data: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`{"success": false, "message", "error", "code", "errors", "statusCode", "data"?}`."""
    return respond(refusal_body(status, code, message, fields, data), status, headers)


def success_body(data: Any, message: str) -> dict[str, Any]:
    return {"success": True, "message": message, "data": data}


def refusal_body(
    status: int, code: str, message: str, fields: Iterable[FieldError] = (), data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of a refusal, which is counted by its code.

    `error` says what `message` says, for clients of an older dialect that look there.
    """
    body: dict[str, Any] = {
        "success": False,
        "message": message,
        "error": message,
        "code": code,
        "errors": [{"field": each.field, "message": each.message} for each in fields],
        "statusCode": status,
    }
    if data:
        body["data"] = data
    metrics.refused(code)
    return body


def respond(body: dict[str, Any], status: int, headers: Mapping[str, str] | None) -> Response:
    """A body of `success_body` or `refusal_body` as an answer."""
    response = json_response(body, status)
    if headers:
        response.headers.update(headers)
    return response
