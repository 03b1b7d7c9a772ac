"""What the API's description says beside what follows from views and schemas: headers, and examples of bodies.

Headers are described by hand, not by models: a header model is read, and its schema made, on every request.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from web.examples import EXAMPLES

Document = dict[str, Any]

IDEMPOTENCY_KEY = "Idempotency-Key"
PREFER = "Prefer"
REQUEST_ID = "X-Request-Id"

# Headers of requests, by name.
PARAMETERS: Document = {
    IDEMPOTENCY_KEY: {
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "description": (
            "Makes it safe to ask again: the same key and body have the same answer, the same key with another body "
            "is refused with 422. A key is the asker's own, and one sale's. draft-ietf-httpapi-idempotency-key-header"
        ),
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!#-~]+$"},
        "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
    },
    PREFER: {
        "name": PREFER,
        "in": "header",
        "description": (
            "`wait=N`: answer with the outcome itself if it comes within N seconds, at most 30 (RFC 7240, section "
            "4.3). A preference that cannot be read or met is passed over."
        ),
        "schema": {"type": "string"},
        "example": "wait=10",
    },
    REQUEST_ID: {
        "name": REQUEST_ID,
        "in": "header",
        "description": "Finds this request in the logs: 8 to 64 letters, digits, `.`, `_`, `-`; else one is made up",
        "schema": {"type": "string"},
        "example": "checkout-7f3a9c",
    },
}

# Headers of answers, by name.
HEADERS: Document = {
    REQUEST_ID: {
        "description": "The id of the request, as it stands in the logs",
        "required": True,
        "schema": {"type": "string"},
    },
    "Location": {"description": "Where the outcome is asked for", "schema": {"type": "string"}},
    "Preference-Applied": {"description": "The wait that was granted", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds after which to ask again",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "What would be accepted (RFC 9110, section 15.5.2)",
        "required": True,
        "schema": {"type": "string"},
    },
}
HEADERS_OF_STATUS = {
    "202": ("Location", "Retry-After"),
    "401": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}


def describe(document: Document, headers_read: dict[str, tuple[str, ...]]) -> Document:
    """The document with headers and examples; `headers_read` names the headers that an operation's view reads."""
    found = deepcopy(document)
    found["components"]["parameters"] = {name: PARAMETERS[name] for name in PARAMETERS}
    found["components"]["headers"] = HEADERS
    for operation in operations(found):
        read = headers_read.get(operation["operationId"], ())
        parameters = operation.setdefault("parameters", [])
        parameters += [{"$ref": f"#/components/parameters/{name}"} for name in (*read, REQUEST_ID)]
        for status, response in operation["responses"].items():
            named = [REQUEST_ID, *HEADERS_OF_STATUS.get(status, ())]
            if status == "201" and PREFER in read:
                named += ["Location", "Preference-Applied"]
            response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in named}
        _add_example(operation)
    found["components"]["responses"] = _share_refusals(found)
    return found


def operations(document: Document) -> Iterator[Document]:
    """Every operation of the document."""
    for path in document["paths"].values():
        yield from path.values()


def _share_refusals(document: Document) -> Document:
    """Put the usual refusal of each status in one place, for every operation to point at."""
    refusals = [
        (operation["responses"], status)
        for operation in operations(document)
        for status in operation["responses"]
        if status >= "400"
    ]
    shared: Document = {}
    for status in sorted({status for _, status in refusals}):
        found = [responses[status] for responses, each in refusals if each == status]
        usual = max(found, key=found.count)
        if found.count(usual) > 1:
            shared[f"Refused{status}"] = usual
    for responses, status in refusals:
        if responses[status] == shared.get(f"Refused{status}"):
            responses[status] = {"$ref": f"#/components/responses/Refused{status}"}
    return shared


def _add_example(operation: Document) -> None:
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if media is not None and operation["operationId"] in EXAMPLES:
        media["example"] = EXAMPLES[operation["operationId"]]
