"""The API's description, OpenAPI 3.1: what every blueprint has in common, and what follows from the views themselves.

Which routes need a token, and which refusals every route can give, is written here from the marks on the views, so
that the document cannot say anything else than the code does.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from flask.wrappers import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models import OPENAPI3_REF_PREFIX
from flask_openapi.models.info import Info
from flask_openapi.models.operation import Operation
from flask_openapi.models.response import Response as DescribedResponse
from flask_openapi.models.security_scheme import SecurityScheme
from flask_openapi.models.tag import Tag
from flask_openapi.openapi import OpenAPI
from flask_openapi.utils import parse_rule
from pydantic.alias_generators import to_camel

from web.access import Access, public
from web.description import Document, describe
from web.headers import DOCS_PREFIX
from web.json import json_response
from web.schemas import ErrorEnvelope

View = TypeVar("View", bound=Callable[..., Any])

DOCUMENT_URL = "/api/openapi.json"
BEARER = "bearerToken"

INFO = Info(
    title="Doorbuster",
    version="0.1.0",
    description=(
        "Sells a limited number of units in a short time, and gets it exactly right.\n\n"
        "Every answer is an envelope: `success`, `message`, `data` and, for lists, `meta`; a refusal has a stable "
        "`code` and names the `errors` of the input. Ids are text, times are ISO 8601 in UTC, money is a number with "
        "at most two decimals beside its ISO 4217 currency. A query parameter without a value is not given. Send "
        "`X-Request-Id` to find a request again in the logs; every answer carries it."
    ),
)

SECURITY_SCHEMES: dict[str, SecurityScheme | dict[str, Any]] = {
    BEARER: SecurityScheme(type="http", scheme="bearer", bearerFormat="JWT", description="`accessToken` of a login")
}

REFUSALS = {
    "400": "The input breaks a rule: `VALIDATION_ERROR`, or a code of its own; `errors` names the fields",
    "401": "No token, or none that is valid: `TOKEN_MISSING`, `TOKEN_EXPIRED`, `TOKEN_INVALID`, `TOKEN_REVOKED`",
    "403": "You may not: `FORBIDDEN`; `CSRF_TOKEN_INVALID`: a cookie without its proof; `ADDRESS_DENIED`: your address "
    "may not come in at all",
    "404": "There is no such thing",
    "413": "The body is too large: `BODY_TOO_LARGE`",
    "415": "The body is not declared as JSON",
    "429": "Too many requests: `RATE_LIMITED`; `Retry-After` and `RateLimit` say when to come back",
    "503": "A part that is needed is away or full: `UNAVAILABLE`, `LINE_FULL`, `BUSY`, `TOKEN_CHECK_UNAVAILABLE`, "
    "`NOT_REPLICATED`; `Retry-After` says when to come back. A request for units may stand all the same, unless it was "
    "`LINE_FULL`: ask again with the same `Idempotency-Key`",
}


def api_blueprint(name: str, import_name: str, *, url_prefix: str, tag: str, about: str) -> APIBlueprint:
    """A blueprint of the API, with its chapter in the document."""
    return APIBlueprint(name, import_name, url_prefix=url_prefix, abp_tags=[Tag(name=tag, description=about)])


def reads(*headers: str) -> Callable[[View], View]:
    """Say which request headers a view reads: names of web.description.PARAMETERS. Stands above the other marks."""

    def mark(view: View) -> View:
        view.headers_read = headers  # type: ignore[attr-defined]
        return view

    return mark


class DescribedApp(OpenAPI):
    """A Flask application that describes itself, with what web/description.py adds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.headers_read: dict[str, tuple[str, ...]] = {}
        self._described: Document = {}
        self._describing = threading.Lock()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view or hook of ours is a coroutine, and Flask would look at every one of them on every request."""
        return func

    def register_api(self, api: APIBlueprint, **options: Any) -> None:
        """Register a blueprint. A path may have methods in several; the last would otherwise take it over whole."""
        known = dict(self.paths)
        super().register_api(api, **options)
        for path in known.keys() & api.paths.keys():
            methods = {name: each for name, each in self.paths[path] if isinstance(each, Operation)}
            self.paths[path] = known[path].model_copy(update=methods)

    @property
    def api_doc(self) -> Document:
        """The document, made when it is first asked for."""
        with self._describing:
            if not self._described:
                self._described = describe(super().api_doc, self.headers_read)
            return self._described


def new_openapi_app(import_name: str) -> DescribedApp:
    """A Flask application that describes itself, with its pages from wheels and nothing from a CDN."""
    app = DescribedApp(
        import_name,
        info=INFO,
        security_schemes=SECURITY_SCHEMES,
        doc_prefix=DOCS_PREFIX,
        validation_error_status=400,
        validation_error_model=ErrorEnvelope,
    )
    # 3.2 is flask-openapi's own; Postman's converter and most generators stop at 3.1.
    app.openapi_version = "3.1.0"
    return app


def init_openapi(app: DescribedApp) -> None:
    """Complete the description from the views, and serve it. Called when every route is registered.

    Raises RuntimeError for a route of the API that does not say who may call it.
    """

    @app.route(DOCUMENT_URL, endpoint="openapi_document")
    @public
    def openapi_document() -> Response:
        return json_response(app.api_doc)

    for rule in app.url_map.iter_rules():
        path = app.paths.get(parse_rule(rule.rule))
        if path is None and (not rule.rule.startswith("/api/") or rule.rule.startswith(DOCS_PREFIX)):
            continue
        view = app.view_functions[rule.endpoint]
        access = getattr(view, "access", None)
        if access is None:
            raise RuntimeError(f"{rule.rule} does not say who may call it: see web/access.py")
        for method in rule.methods or ():
            operation = getattr(path, method.lower(), None)
            if isinstance(operation, Operation):
                # `products.list_all` is `productsListAll`: stable names for whoever generates a client.
                operation.operationId = to_camel(rule.endpoint.replace(".", "_"))
                _complete(operation, access, has_ids=bool(rule.arguments))
                app.headers_read[operation.operationId] = getattr(view, "headers_read", ())


def _complete(operation: Operation, access: Access, *, has_ids: bool) -> None:
    statuses = ["400", "403", "429", "503"]
    if access is not Access.PUBLIC:
        # OpenAPI 3.1, section 4.8.30: for a bearer token the list names the roles that are needed.
        operation.security = [{BEARER: [Access.ADMIN.value] if access is Access.ADMIN else []}]
        statuses.append("401")
    if has_ids:
        statuses.append("404")
    if operation.requestBody is not None:
        statuses += ["413", "415"]
    responses = operation.responses = dict(operation.responses or {})
    for status in sorted(statuses):
        responses.setdefault(status, refusal(REFUSALS[status]))


def refusal(when: str) -> DescribedResponse:
    """The description of a refusal, for the `responses` of a view."""
    schema = {"$ref": f"{OPENAPI3_REF_PREFIX}/{ErrorEnvelope.__name__}"}
    return DescribedResponse.model_validate({"description": when, "content": {"application/json": {"schema": schema}}})
