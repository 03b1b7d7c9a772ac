import json
import re

import pytest
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.utils import parse_rule

from web.access import Access
from web.app import create_app

# What anybody may call without a token. A new route is either here or behind one.
PUBLIC = {
    "POST /api/auth/signup",
    "POST /api/auth/login",
    "POST /api/auth/refresh",
    "GET /api/products",
    "GET /api/products/{product_id}",
    "GET /api/products/{product_id}/status",
    "GET /api/categories",
    "GET /api/categories/{category_id}",
    "GET /api/flash-sales",
    "GET /api/flash-sales/live",
    "GET /api/flash-sales/{sale_id}",
    "GET /api/flash-sales/{sale_id}/audit",
    "GET /api/series",
    "GET /api/series/{series_id}",
    "GET /api/openapi.json",
    "GET /api/postman.json",
    "POST /api/signup",
    "POST /api/signin",
}
PUBLIC_AT_THE_ROOT = {"GET /leaderboard"}
OUTSIDE_THE_API = {"/", "/ws", "/healthz", "/readyz", "/metrics"}
# What people look at: tests/web/test_pages.py.
PAGES = {
    "/",
    "/sales/<id:sale_id>",
    "/account",
    "/login",
    "/signup",
    "/session/login",
    "/session/signup",
    "/session/logout",
    "/session/refresh",
    "/session/resume",
}
# web/dialects: what the documents of older systems name without a prefix.
DIALECTS = {
    "/start-sale",
    "/purchase",
    "/leaderboard",
    "/signup",
    "/signin",
    "/create-product",
    "/create-flash-sale",
    "/flash-sale",
    "/purchase-product",
}


@pytest.fixture
def document(client):
    return client.get("/api/openapi.json").json


def _operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_needs_a_token_or_is_on_the_public_list(app):
    routes = {
        f"{method} {parse_rule(rule.rule)}": getattr(app.view_functions[rule.endpoint], "access", None)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/") and not rule.rule.startswith("/api/docs")
    }

    assert None not in routes.values()
    assert {route for route, access in routes.items() if access is Access.PUBLIC} == PUBLIC


def test_nothing_but_health_pages_and_sockets_is_served_outside_of_the_api(app):
    outside = {
        rule.rule
        for rule in app.url_map.iter_rules()
        # /admin has a test of its own, of every route: tests/desk/test_who_may.py.
        if not rule.rule.startswith(("/api/", "/static/", "/admin")) and rule.rule != "/api"
    }

    assert outside == OUTSIDE_THE_API | DIALECTS | PAGES


def test_the_document_shows_a_token_where_one_is_needed(document):
    without = {route for route, operation in _operations(document) if not operation.get("security")}

    assert without == (PUBLIC | PUBLIC_AT_THE_ROOT) - {"GET /api/openapi.json", "GET /api/postman.json"}
    assert document["components"]["securitySchemes"]["bearerToken"]["scheme"] == "bearer"


def test_a_route_that_does_not_say_who_may_call_it_stops_the_application(store, monkeypatch):
    forgetful = APIBlueprint("forgetful", __name__, url_prefix="/api/forgetful")

    @forgetful.get("")
    def forgotten() -> str:
        return ""

    monkeypatch.setattr("web.app.API", (forgetful,))

    with pytest.raises(RuntimeError, match="/api/forgetful does not say who may call it"):
        create_app()


def test_the_document_is_openapi_3_1_and_every_reference_in_it_leads_somewhere(document):
    assert document["openapi"] == "3.1.0"
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


def test_operations_have_names_of_their_own(document):
    names = [operation["operationId"] for _, operation in _operations(document)]

    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]+", name) for name in names)


def test_every_operation_says_how_it_refuses(document):
    for route, operation in _operations(document):
        assert {"400", "429", "503"} <= set(operation["responses"]), route
        assert operation["responses"].keys() & {"200", "201", "202"}, route
        if operation.get("security"):
            assert "401" in operation["responses"], route


@pytest.mark.parametrize("page", ["", "swagger", "redoc"])
def test_the_pages_of_the_document_load_nothing_from_elsewhere(client, page):
    answer = client.get(f"/api/docs/{page}")

    assert answer.status_code == 200
    assert "'unsafe-inline'" in answer.headers["Content-Security-Policy"]
    sources = re.findall(r"""(?:src|href)=["']\s*([^"']+)["']""", answer.text)
    assert [source for source in sources if source.strip().startswith(("http", "//"))] == []


def test_the_pages_scripts_come_from_here(client):
    for page in ("swagger", "redoc"):
        sources = re.findall(r'<script src="([^"]+)"', client.get(f"/api/docs/{page}").text)
        assert sources
        for source in sources:
            with client.get(f"/api/docs/{source}") as script:
                assert script.status_code == 200
