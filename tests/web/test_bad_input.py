"""Whatever is sent: the answer is a refusal in the envelope, never a 500, and nothing is written."""

import io
import json

import pytest
from sqlalchemy import func, select

from models.database import transaction
from models.tables import metadata

SIGN_UP = {"name": "Ann", "email": "ann@shop.test", "password": "customer123"}
LOGIN = {"email": "ann@shop.test", "password": "customer123"}
PRODUCT = {"name": "Shoe", "price": 10}
CATEGORY = {"name": "Shoes"}

ROUTES = {
    "POST /api/auth/signup": SIGN_UP,
    "POST /api/auth/login": LOGIN,
    "POST /api/auth/refresh": {"refreshToken": "x"},
    "POST /api/auth/logout": {"refreshToken": "x"},
    "POST /api/products": PRODUCT,
    "PATCH /api/products/1": PRODUCT,
    "POST /api/categories": CATEGORY,
    "PATCH /api/categories/1": CATEGORY,
}

# What is wrong whatever the route: the body as bytes, and the status it deserves.
MALFORMED = {
    "nothing": (b"", 400),
    "no JSON": (b"{", 400),
    "a list": (b"[]", 400),
    "a text": (b'"x"', 400),
    "JSON inside a text": (rb'"{\"name\": \"Shoes\"}"', 400),
    "null": (b"null", 400),
    "NaN": (b'{"name": NaN}', 400),
    "Infinity": (b'{"name": Infinity}', 400),
    "a number beyond numbers": (b'{"name": 1e999}', 400),
    "bytes that are no UTF-8": (b'{"name": "\xff\xfe"}', 400),
    "UTF-16": ('{"name": "Shoes"}'.encode("utf-16"), 400),
    "half a surrogate pair": (rb'{"name": "\ud800"}', 400),
    "deep nesting": (b'{"name":' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
    "too much": (b'{"name": "' + b"x" * 70_000 + b'"}', 413),
    "a number as long as a page": (b'{"name": ' + b"9" * 5_000 + b"}", 400),
}

# One field of each route, wrong in its own way: the route, the field's value, and the field that the answer names.
WRONG_FIELDS = [
    ("POST /api/auth/signup", {"name": ""}, "name"),
    ("POST /api/auth/signup", {"name": "   "}, "name"),
    ("POST /api/auth/signup", {"name": "x" * 101}, "name"),
    ("POST /api/auth/signup", {"name": 7}, "name"),
    ("POST /api/auth/signup", {"name": "a\x00b"}, "name"),
    ("POST /api/auth/signup", {"name": "two\nlines"}, "name"),
    ("POST /api/auth/signup", {"name": "bell\x07"}, "name"),
    ("POST /api/auth/signup", {"email": "nobody"}, "email"),
    ("POST /api/auth/signup", {"email": "a@b@c.test"}, "email"),
    ("POST /api/auth/signup", {"email": "a b@c.test"}, "email"),
    ("POST /api/auth/signup", {"email": "a@-c.test"}, "email"),
    ("POST /api/auth/signup", {"email": "ä@c.test"}, "email"),
    ("POST /api/auth/signup", {"email": "a" * 250 + "@c.test"}, "email"),
    ("POST /api/auth/signup", {"email": ["a@c.test"]}, "email"),
    ("POST /api/auth/signup", {"email": None}, "email"),
    ("POST /api/auth/signup", {"password": "short"}, "password"),
    ("POST /api/auth/signup", {"password": "x" * 129}, "password"),
    ("POST /api/auth/signup", {"password": 123456}, "password"),
    ("POST /api/auth/signup", {"password": "abcdef\x00"}, "password"),
    ("POST /api/auth/signup", {"role": "owner"}, "role"),
    ("POST /api/auth/signup", {"isAdmin": True}, "isAdmin"),
    ("POST /api/auth/login", {"email": "nobody"}, "email"),
    ("POST /api/auth/login", {"password": ""}, "password"),
    ("POST /api/auth/login", {"password": {"$gt": ""}}, "password"),
    ("POST /api/auth/login", {"extra": 1}, "extra"),
    ("POST /api/auth/refresh", {"refreshToken": ""}, "refreshToken"),
    ("POST /api/auth/refresh", {"refreshToken": 1}, "refreshToken"),
    ("POST /api/auth/refresh", {"refresh_token": "x"}, "refresh_token"),
    ("POST /api/auth/logout", {"refreshToken": 1}, "refreshToken"),
    ("POST /api/auth/logout", {"all": True}, "all"),
    ("POST /api/categories", {"name": ""}, "name"),
    ("POST /api/categories", {"name": None}, "name"),
    ("POST /api/categories", {"slug": "mine"}, "slug"),
    ("PATCH /api/categories/1", {"name": "x" * 101}, "name"),
]
PRODUCT_MISTAKES = [
    ({"name": ""}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": None}, "name"),
    ({"description": 1}, "description"),
    ({"description": "x" * 10_001}, "description"),
    ({"description": "a\x00b"}, "description"),
    ({"images": "https://example.com"}, "images"),
    ({"images": ["javascript:alert(1)"]}, "images.0"),
    ({"images": ["https://example.com/a b"]}, "images.0"),
    ({"images": ["https://example.com/a\x00"]}, "images.0"),
    ({"images": ["/x"] * 21}, "images"),
    ({"price": 0}, "price"),
    ({"price": -1}, "price"),
    ({"price": 1.999}, "price"),
    ({"price": 1e-7}, "price"),
    ({"price": 10_000_000_000}, "price"),
    ({"price": 10**30}, "price"),
    ({"price": "NaN"}, "price"),
    ({"price": "1e3"}, "price"),
    ({"price": "ten"}, "price"),
    ({"price": True}, "price"),
    ({"price": [1]}, "price"),
    ({"currency": "usd"}, "currency"),
    ({"currency": "EURO"}, "currency"),
    ({"currency": None}, "currency"),
    ({"stock": -1}, "stock"),
    ({"stock": 1.5}, "stock"),
    ({"stock": "5"}, "stock"),
    ({"stock": True}, "stock"),
    ({"stock": 2**63}, "stock"),
    ({"rating": 5.1}, "rating"),
    ({"rating": 4.55}, "rating"),
    ({"totalReviews": -1}, "totalReviews"),
    ({"categoryId": 0}, "categoryId"),
    ({"categoryId": "1 "}, "categoryId"),
    ({"categoryId": "٣"}, "categoryId"),
    ({"categoryId": 2**63}, "categoryId"),
    ({"categoryId": True}, "categoryId"),
    ({"id": "5"}, "id"),
    ({"slug": "mine"}, "slug"),
    ({"category_id": "1"}, "category_id"),
]
WRONG_FIELDS += [(route, *mistake) for route in ROUTES if "products" in route for mistake in PRODUCT_MISTAKES]


@pytest.fixture
def send(client, admin, make_product):
    """send("POST /api/products", …) as an admin, to a shop with one product in one category."""
    client.post("/api/categories", headers=admin, json={"name": "Hats"})
    make_product()

    def send_it(route, **body):
        method, path = route.split()
        return client.open(path, method=method, headers=admin, **body)

    return send_it


def _everything():
    """What is in the database, whole."""
    with transaction() as session:
        return {
            name: session.execute(select(func.count(), func.max(table.c.created_at)).select_from(table)).one()
            for name, table in metadata.tables.items()
            if "created_at" in table.c
        } | {"names": session.execute(select(metadata.tables["products"].c.name)).scalars().all()}


def _check_refusal(answer, status):
    assert answer.status_code == status
    assert answer.mimetype == "application/json"
    body = answer.json
    assert body["success"] is False
    assert body["statusCode"] == status
    assert body["error"] == body["message"]
    assert body["code"].isupper()
    return body


@pytest.mark.parametrize(
    ("route", "what"),
    # Logging out needs no body.
    [(route, what) for route in ROUTES for what in MALFORMED if (route, what) != ("POST /api/auth/logout", "nothing")],
)
def test_a_body_that_cannot_be_read_changes_nothing(send, route, what):
    body, status = MALFORMED[what]
    before = _everything()

    answer = send(route, data=body, content_type="application/json")

    refusal = _check_refusal(answer, status)
    if status == 400:
        assert refusal["errors"][0]["field"] in {"body", "name", "email", "refreshToken"}
    assert _everything() == before


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_what_is_not_declared_as_json_is_not_read_as_json(send, route, content_type):
    answer = send(route, data=b'{"name": "Shoes"}', content_type=content_type)
    undeclared = send(route, data=b'{"name": "Shoes"}')

    assert undeclared.status_code == 415
    assert _check_refusal(answer, 415)["code"] == "UNSUPPORTED_MEDIA_TYPE"


@pytest.mark.parametrize("route", [route for route in ROUTES if "PATCH" not in route and "logout" not in route])
def test_every_missing_field_is_named(send, route):
    named = {error["field"] for error in _check_refusal(send(route, json={}), 400)["errors"]}

    needed = set(ROUTES[route]) - {"price"}
    assert named == needed


@pytest.mark.parametrize(("route", "mistake", "field"), WRONG_FIELDS)
def test_the_wrong_field_is_named_and_its_value_is_not_repeated(send, route, mistake, field):
    before = _everything()

    answer = send(route, data=json.dumps(ROUTES[route] | mistake), content_type="application/json")

    body = _check_refusal(answer, 400)
    assert body["code"] == "VALIDATION_ERROR"
    assert [error["field"] for error in body["errors"]] == [field]
    assert "Decimal" not in answer.text
    for value in mistake.values():
        if isinstance(value, str) and len(value) > 5:
            assert value not in answer.text
    assert _everything() == before


def test_a_flood_of_unknown_fields_gets_a_short_answer(send):
    answer = send("POST /api/categories", json={f"field{number}" + "x" * 50: 1 for number in range(900)})

    assert len(_check_refusal(answer, 400)["errors"]) == 20
    assert len(answer.data) < 5_000


def test_an_escaped_backslash_before_u0000_is_no_nul(send):
    answer = send("POST /api/categories", data=rb'{"name": "a\\u0000b"}', content_type="application/json")

    assert answer.status_code == 201
    assert answer.json["data"]["name"] == r"a\u0000b"


@pytest.mark.parametrize("path", ["/api/products?searchTerm=%00", "/api/products?%00=1", "/api/users?search=a%00"])
def test_nul_in_a_query_is_refused(client, admin, path):
    _check_refusal(client.get(path, headers=admin), 400)


@pytest.mark.parametrize("path", ["/api/products", "/api/purchases/1-1", "/api/nothing", "/login"])
def test_a_query_of_bytes_that_are_no_text_is_refused(client, admin, path):
    """Browsers encode what they send; others send what they like."""
    raw, encoded = (
        client.get(path, headers=admin, environ_overrides={"QUERY_STRING": query})
        for query in ("wait=\xb2", "wait=%C2%B2")
    )
    assert raw.status_code == 400
    assert encoded.status_code < 500


def test_nul_in_a_path_finds_nothing(client):
    assert client.get("/api/products/1%00").status_code in {400, 404}


def test_what_is_no_route_and_what_is_no_method_say_so_in_the_envelope(client):
    assert _check_refusal(client.get("/api/nothing"), 404)["code"] == "NOT_FOUND"
    answer = client.put("/api/products")
    assert _check_refusal(answer, 405)["code"] == "METHOD_NOT_ALLOWED"
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(("spaces", "status"), [(10, 201), (70_000, 413)])
def test_a_body_in_chunks_is_bounded_too(client, admin, spaces, status):
    body = b'{"name": "Boots"}' + b" " * spaces

    answer = client.post(
        "/api/categories",
        headers=admin | {"Transfer-Encoding": "chunked"},
        content_type="application/json",
        input_stream=io.BytesIO(body),
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("page=0", "page", "must be greater than or equal to 1"),
        ("limit=101", "limit", "must be less than or equal to 100"),
        ("sortOrder=up", "sortOrder", "must be 'asc' or 'desc'"),
        ("page=one", "page", "must be a whole number"),
    ],
)
def test_a_bound_is_said_in_words_for_people(client, store, query, field, words):
    answer = client.get(f"/api/flash-sales?{query}")

    assert answer.json["errors"] == [{"field": field, "message": words}]
