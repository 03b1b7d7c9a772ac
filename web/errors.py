"""Every error as an answer: which exception becomes which status, and nothing internal with it."""

import re

import structlog
from flask import Flask
from flask.wrappers import Response
from gunicorn.http.errors import ParseException
from pydantic import ValidationError
from pydantic.alias_generators import to_snake
from pydantic_core import ErrorDetails
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from models.accounts import BadCredentialsError
from models.errors import (
    ConflictError,
    DomainError,
    FieldError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from models.redisclient import REDIS_AWAY
from web.envelope import fail
from web.unauthorized import UnauthorizedError

log = structlog.get_logger()

# What is raised where Redis or PostgreSQL is away, or too busy to be waited for.
AWAY = (*REDIS_AWAY, OutOfMemoryError, ReadOnlyError, OperationalError, InterfaceError, PoolTimeoutError)
RETRY_AFTER_SECONDS = 1
FIELDS_MAX = 20
FIELD_LENGTH_MAX = 100

# A code that has its own status, whatever class it came as.
STATUS_OF_CODE = {
    "LIMIT_EXCEEDED": 422,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "LINE_FULL": 503,
    "ACTIVE_SALE_EXISTS": 400,
    "RESERVATION_EXPIRED": 410,
    "HISTORY_ARCHIVED": 410,
}

STATUS_OF_CLASS: dict[type[DomainError], int] = {
    InvalidError: 400,
    BadCredentialsError: 401,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    UnavailableError: 503,
}

# What werkzeug refuses: our code and words for it.
HTTP_ERRORS = {
    400: ("BAD_REQUEST", "The request cannot be read"),
    404: ("NOT_FOUND", "Not found"),
    405: ("METHOD_NOT_ALLOWED", "This method is not allowed here"),
    413: ("BODY_TOO_LARGE", "The body is too large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "Send JSON: Content-Type: application/json"),
}

# Words for pydantic's errors that its own would speak Python in.
WORDS = {
    "extra_forbidden": "is not a known field",
    "model_type": "must be a JSON object",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "string_pattern_mismatch": "is not written as it must be",
}

# As it begins most of the others: "String should have at least 6 characters".
SHOULD = re.compile(r"^(Input|String|List|Dictionary) should ")


def init_errors(app: Flask) -> None:
    app.register_error_handler(DomainError, refuse)
    app.register_error_handler(ValidationError, refuse_invalid)
    app.register_error_handler(HTTPException, _refuse_http)
    app.register_error_handler(ParseException, _refuse_unreadable)
    for away in AWAY:
        app.register_error_handler(away, _say_unavailable)
    app.register_error_handler(ResponseError, _say_spoilt)
    app.register_error_handler(DBAPIError, _judge_database_error)
    app.register_error_handler(Exception, _hide)


def status_of(error: DomainError) -> int:
    """The HTTP status of a refusal: by its code, else by its class."""
    if error.code in STATUS_OF_CODE:
        return STATUS_OF_CODE[error.code]
    return next((status for kind, status in STATUS_OF_CLASS.items() if isinstance(error, kind)), 409)


def refuse(error: DomainError) -> Response:
    """What the rules refuse, with `error.data` under `data`."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:  # noqa: PLR2004 - Unauthorized
        # RFC 9110, section 15.5.2: a 401 says what would be accepted.
        headers["WWW-Authenticate"] = 'Bearer realm="doorbuster"'
    if status == 503:  # noqa: PLR2004 - Service Unavailable
        headers["Retry-After"] = str(getattr(error, "retry_after_seconds", RETRY_AFTER_SECONDS))
    # What is wrong with a field is said beside the field, whoever found it: a schema or a rule.
    message = InvalidError.message if error.fields and error.code == InvalidError.code else error.message
    return fail(status, error.code, message, fields=error.fields, data=error.data, headers=headers)


def refuse_invalid(error: ValidationError) -> Response:
    """What a schema refuses: the fields by their JSON path, without the input that was wrong."""
    return fail(400, InvalidError.code, InvalidError.message, fields=fields_of(error))


def fields_of(error: ValidationError) -> list[FieldError]:
    """The fields that a schema refuses and why, in words for whoever typed them."""
    found = error.errors(include_url=False, include_input=False)
    return [FieldError(_path(each), _words(each)) for each in found[:FIELDS_MAX]]


def _path(error: ErrorDetails) -> str:
    return ".".join(str(part) for part in error["loc"])[:FIELD_LENGTH_MAX] or "body"


def _words(error: ErrorDetails) -> str:
    if error["type"] == "missing" and error["loc"]:
        # "Flash price is required": such words are shown to people as they are.
        return f"{to_snake(str(error['loc'][-1])).replace('_', ' ').capitalize()} is required"
    return WORDS.get(error["type"]) or SHOULD.sub("must ", error["msg"].removeprefix("Value error, "))


def _refuse_http(error: HTTPException) -> Response:
    if isinstance(error.response, Response):
        return error.response
    status = error.code or 500
    code, message = HTTP_ERRORS.get(status, ((error.name or "error").upper().replace(" ", "_"), error.name))
    # werkzeug's own headers, such as Allow on a 405; the type and the length are those of the HTML it would have sent.
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return fail(status, code, message, headers=headers)


def _refuse_unreadable(_error: ParseException) -> Response:
    """A body whose chunks are none: live's server finds out as the body is read, so the application answers."""
    code, message = HTTP_ERRORS[400]
    return fail(400, code, message)


def _say_unavailable(error: Exception) -> Response:
    log.warning("dependency.away", error=type(error).__name__, reason=str(getattr(error, "orig", error))[:200])
    message = "The service cannot do this at this moment; try again"
    return fail(503, UnavailableError.code, message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _say_spoilt(error: ResponseError) -> Response:
    """Something else lies in the place of a key of ours: it can be mended, and it must be looked at."""
    log.error("redis.refused", error=str(error)[:200])
    return _say_unavailable(error)


def _judge_database_error(error: DBAPIError) -> Response:
    if error.connection_invalidated:
        return _say_unavailable(error)
    if isinstance(error, DataError):
        # A value that no schema refused and no column can hold: still the client's, and worth a rule of its own.
        log.warning("input.unstorable", reason=str(error.orig)[:200])
        return fail(400, InvalidError.code, "A value is not possible here")
    return _hide(error)


def _hide(error: Exception) -> Response:
    """The outermost net: everything to the log, nothing to the client but the request's id in its header."""
    log.error("request.failed", exc_info=error)
    return fail(500, "INTERNAL_ERROR", "Something went wrong on our side")
