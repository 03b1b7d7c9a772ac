"""The description as a client generator reads it: nothing is missing or wrong, and the files are up to date."""

import re
from html.parser import HTMLParser

import jsonschema_rs
import pytest
from flask import Request
from flask_openapi.utils import parse_rule
from werkzeug.datastructures import EnvironHeaders

from models.tokens import issue_access_token
from ops.documents import documents
from web.app import API
from web.description import IDEMPOTENCY_KEY, PREFER, REQUEST_ID, operations

# Documents are not part of what they describe; the last is a second name that reference 001 has for its sale's route.
UNDESCRIBED = {"GET /api/openapi.json", "GET /api/postman.json", "POST /api/flash-sale"}


def resolve(document, found):
    while "$ref" in found:
        node = document
        for part in found["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        found = node
    return found


def parameters(document, operation):
    return [resolve(document, each) for each in operation["parameters"]]


def test_every_route_of_the_api_is_described_with_every_one_of_its_methods(app, document):
    served = {
        f"{method} {parse_rule(rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/") and not rule.rule.startswith("/api/docs")
    }
    described = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}

    assert served - described == UNDESCRIBED


def test_every_operation_has_a_summary_in_one_line_and_a_chapter_that_is_introduced(document):
    chapters = {tag["name"]: tag.get("description") for tag in document["tags"]}

    for operation in operations(document):
        assert operation["summary"], operation["operationId"]
        assert "\n" not in operation["summary"], operation["operationId"]
        assert all(chapters[tag] for tag in operation["tags"]), operation["operationId"]
        assert operation["tags"], operation["operationId"]


def test_every_path_parameter_is_described_and_required(document):
    for path, methods in document["paths"].items():
        for operation in methods.values():
            named = {each["name"] for each in parameters(document, operation) if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), path
            assert all(each["required"] for each in parameters(document, operation) if each["in"] == "path"), path


def test_every_body_has_an_example_that_its_own_schema_allows(document):
    for operation in operations(document):
        if "requestBody" not in operation:
            continue
        media = operation["requestBody"]["content"]["application/json"]
        assert "example" in media, f"web/examples.py has none for {operation['operationId']}"
        schema = {**media["schema"], "components": document["components"]}
        jsonschema_rs.validate(schema, media["example"])


def test_every_answer_has_the_id_of_its_request_and_a_refusal_says_what_follows(document):
    for operation in operations(document):
        assert REQUEST_ID in {each["name"] for each in parameters(document, operation)}
        for status, response in operation["responses"].items():
            headers = resolve(document, response)["headers"]
            assert REQUEST_ID in headers
            assert ("Retry-After" in headers) >= (status in ("202", "429", "503"))
            assert ("WWW-Authenticate" in headers) >= (status == "401")


def test_schemas_of_one_name_are_one_schema():
    """The document has room for one schema of a name; of two classes with it the last would describe both."""
    known = {}
    for blueprint in API:
        for name, schema in blueprint.components_schemas.items():
            assert known.setdefault(name, schema) == schema, f"{name} in {blueprint.name}"


def test_admins_operations_name_the_role_that_they_need(document):
    by_id = {operation["operationId"]: operation for operation in operations(document)}

    assert by_id["salesCreate"]["security"] == [{"bearerToken": ["admin"]}]
    assert by_id["purchasesBuy"]["security"] == [{"bearerToken": []}]


BUYING = {
    "POST /api/flash-sales/{sale_id}/purchases": {"quantity": 1},
    "POST /api/flash-sales/{sale_id}/reservations": {"quantity": 1},
    "GET /api/purchases/{purchase_id}": None,
    "GET /api/flash-sales/{sale_id}/purchases/{ticket}": None,
    "POST /api/purchases/{purchase_id}/checkout": {},
    "POST /api/purchases/{purchase_id}/refund": {"reason": "tested"},
    "POST /api/reserve": {"productId": "{product_id}", "quantity": 1},
    "POST /api/checkout": {"productId": "{product_id}", "quantity": 1, "totalAmount": 49.99},
    "POST /purchase": {"productId": "{product_id}", "quantity": 1},
    "POST /api/purchase-product": {"flashSaleId": "{sale_id}", "quantity": 1},
}


@pytest.mark.parametrize("call", BUYING)
def test_headers_that_a_route_reads_are_described_and_those_that_are_described_are_read(
    app, document, make_user, stock_shop, call
):
    read = set()

    class WatchedHeaders(EnvironHeaders):
        def get(self, key, *arguments, **options):
            read.add(key)
            return super().get(key, *arguments, **options)

        def getlist(self, key, *arguments, **options):
            read.add(key)
            return super().getlist(key, *arguments, **options)

    class WatchedRequest(Request):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.headers = WatchedHeaders(self.environ)

    app.request_class = WatchedRequest
    admin = make_user(role="admin")
    ids = stock_shop(admin)
    method, path = call.split(" ")
    body = BUYING[call]
    sent = body and {name: value.format(**ids) if isinstance(value, str) else value for name, value in body.items()}
    # A request with a name is never answered before Flask sees it (web/doorstep.py), where its headers are watched.
    header = {"Authorization": f"Bearer {issue_access_token(admin.id, admin.role)}", REQUEST_ID: "watched-request"}
    answer = app.test_client().open(path.format(**ids), method=method, headers=header, json=sent)

    assert answer.status_code not in (400, 401, 403, 404), answer.json
    described = {each["name"] for each in parameters(document, document["paths"][path][method.lower()])}
    assert read & {IDEMPOTENCY_KEY, PREFER} == described & {IDEMPOTENCY_KEY, PREFER}


def test_every_route_that_is_said_to_read_them_is_looked_at_above(document):
    said = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if {each["name"] for each in parameters(document, operation)} & {IDEMPOTENCY_KEY, PREFER}
    }

    assert said - {"POST /api/purchase"} == set(BUYING)


def test_the_files_in_docs_are_what_the_code_says(servers):
    """Not so: `make postman` writes them anew."""
    for path, content in documents().items():
        assert path.read_bytes() == content, f"{path.name} is out of date: make postman"


class Assets(HTMLParser):
    """Everything that a page loads."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "link"):
            self.found += [value.strip() for name, value in attributes.items() if name in ("src", "href") and value]


@pytest.mark.parametrize("page", ["/api/docs/", "/api/docs/swagger", "/api/docs/redoc"])
def test_the_docs_pages_and_everything_that_they_load_come_from_here(app, page):
    client = app.test_client()
    assets = Assets()
    assets.feed(client.get(page).text)

    for asset in assets.found:
        assert not asset.startswith(("http:", "https:", "//")), asset
        if not asset.startswith("data:"):
            with client.get(f"/api/docs/{asset}" if not asset.startswith("/") else asset) as answer:
                assert answer.status_code == 200, asset
                if answer.mimetype == "text/css":
                    assert not re.search(r"url\(['\"]?(https?:)?//", answer.text), asset
