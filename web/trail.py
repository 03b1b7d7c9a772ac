"""The operators' log is written here: after every request by which an admin changed something, API and desk alike.

Hooked where admin routes are executed, so no view can forget it. The action is done by then and stays done: where the
entry cannot be written it goes to the log of this process, as an error.
"""

import re
from collections.abc import Mapping
from typing import Any

import structlog
from flask import Flask, g, request
from flask.wrappers import Response
from sqlalchemy.exc import SQLAlchemyError

from models.operator_log import note_action
from web.access import Access, access_of
from web.auth import SAFE_METHODS, Identity

log = structlog.get_logger()

REFUSED_FROM = 400
# What one field may take of an entry, and how many fields are named.
TEXT_LENGTH_MAX = 200
FIELDS_MAX = 30
SECRET = re.compile("password|secret|token", re.IGNORECASE)
# The nouns behind the ids of paths, and behind the collections that a new thing's address is in.
NOUN_OF_ID = {"rule_id": "ip_rule", "record_id": "fraud_record"}
NOUN_OF_COLLECTION = {
    "flash-sales": "sale",
    "products": "product",
    "categories": "category",
    "ip-rules": "ip_rule",
    "users": "user",
}


def init_trail(app: Flask) -> None:
    """Called right after init_request_log: the last of all to see an answer, but for the log's own line."""
    app.after_request(_write)


def say_action(action: str, given: Mapping[str, Any], location: str | None) -> None:
    """What a page of the desk did, as the API calls it: `sales.pause`, the fields sent, the address of what it made."""
    g.operator_action = (action, given, location)


def _write(response: Response) -> Response:
    caller = g.get("caller")
    if not isinstance(caller, Identity) or not caller.is_admin or response.status_code >= REFUSED_FROM:
        return response
    if request.method in SAFE_METHODS or access_of(request.endpoint or "") is not Access.ADMIN:
        return response
    action, given, location = g.get("operator_action") or (
        request.endpoint or "",
        request.get_json(silent=True),
        response.location,
    )
    details: dict[str, Any] = {"method": request.method, "path": request.path, "status": response.status_code}
    if isinstance(given, Mapping) and given:
        details["given"] = without_secrets(given)
    subject = _subject(location)
    try:
        note_action(caller.user_id, action, subject, details, g.request_id)
    except SQLAlchemyError:
        log.exception("operator.unlogged", actor=caller.user_id, action=action, subject=subject, **details)
    return response


def without_secrets(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as an entry keeps them: short, few, and none that may be a password."""
    shown = list(given.items())[:FIELDS_MAX]
    return {name[:TEXT_LENGTH_MAX]: "…" if SECRET.search(name) else _short(value) for name, value in shown}


def _short(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX] + "…"


def _subject(location: str | None) -> str | None:
    """`sale:7`: what the path names, or else what was made."""
    for name, value in (request.view_args or {}).items():
        if name.endswith("_id"):
            return f"{NOUN_OF_ID.get(name, name.removesuffix('_id'))}:{value}"
    collection, _, made = (location or "").removeprefix("/api/").partition("/")
    return f"{NOUN_OF_COLLECTION.get(collection, collection)}:{made}" if made else None
