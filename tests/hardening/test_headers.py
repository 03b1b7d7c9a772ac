"""What every answer tells a browser to do and to leave alone, and which other origins may ask."""

import re

import pytest

from tests.desk.conftest import HTML
from web import headers
from web.app import create_app

SHOP = "https://shop.example"
PAGES = ["/", "/login", "/signup", "/account", "/admin", "/admin/log", "/no-such-page"]
ANSWERS = [*PAGES, "/api/products", "/api/nothing", "/api/users/me", "/healthz", "/static/doorbuster.css", "/api/docs/"]


def policies(answer):
    """The parts of a Content-Security-Policy by their names."""
    parts = answer.headers["Content-Security-Policy"].split(";")
    return {name: sources for name, _, sources in (part.strip().partition(" ") for part in parts)}


@pytest.mark.parametrize("path", ANSWERS)
def test_no_answer_is_sniffed_framed_or_loaded_by_another_origin_and_tells_nobody_where_one_came_from(operator, path):
    answer = operator.get(path)
    answer.close()

    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert policies(answer)["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_what_comes_from_here_and_nothing_that_stands_in_it(operator, path):
    answer = operator.get(path)
    found = policies(answer)

    assert answer.mimetype == "text/html"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert (found["default-src"], found["object-src"], found["base-uri"]) == ("'self'", "'none'", "'none'")
    assert found["form-action"] == "'self'"
    assert re.fullmatch(r"'self' wss?://[\w.:\[\]-]+", found["connect-src"])
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_script_or_a_style_inside_that_its_policy_would_stop(operator, path):
    text = operator.get(path).text

    scripts = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", text)
    assert scripts == []
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)


def test_browsers_are_held_to_tls_where_they_came_by_it_and_nowhere_else(client, change_settings):
    change_settings(TRUSTED_PROXIES="127.0.0.0/8")

    over_tls = client.get("/", headers={"X-Forwarded-Proto": "https"})
    plain = client.get("/", headers={"X-Forwarded-Proto": "http"})

    assert over_tls.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Strict-Transport-Security" not in plain.headers


def test_a_stranger_who_says_that_he_came_by_tls_is_not_believed(client):
    assert "Strict-Transport-Security" not in client.get("/", headers={"X-Forwarded-Proto": "https"}).headers


class TestOtherOrigins:
    @pytest.fixture(autouse=True)
    def _named(self, change_settings):
        change_settings(CORS_ORIGINS=SHOP, RATE_LIMIT_DEFAULT="1/minute")

    def test_a_script_of_the_named_one_may_read_what_it_needs_to_come_back(self, client):
        client.get("/api/products", headers={"Origin": SHOP})
        refused = client.get("/api/products", headers={"Origin": SHOP})

        readable = {name.strip() for name in refused.headers["Access-Control-Expose-Headers"].split(",")}
        told = {name for name, _ in refused.headers if name.startswith(("RateLimit", "X-RateLimit", "Retry"))}
        assert refused.status_code == 429
        assert told > {"Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
        assert told | {"Location", "Preference-Applied", "X-Request-Id"} <= readable

    def test_it_asks_first_and_keeps_the_answer_for_a_while(self, client):
        asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
        answer = client.options("/api/flash-sales/1/purchases", headers=asked)

        assert answer.status_code == 200
        assert int(answer.headers["Access-Control-Max-Age"]) == 600
        assert answer.headers["Access-Control-Allow-Headers"] == headers.CORS_REQUEST_HEADERS
        assert "Idempotency-Key" in headers.CORS_REQUEST_HEADERS

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            f"{SHOP}.evil.example",
            "https://evil-shop.example",
            "http://shop.example",
            f"{SHOP}:8443",
            "HTTPS://SHOP.EXAMPLE",
            "null",
            "*",
            "",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "OPTIONS"])
    def test_nobody_else_is_let_in_however_alike(self, client, origin, method):
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        answer = client.open("/api/products", method=method, headers=asked)

        assert [name for name, _ in answer.headers if name.startswith("Access-Control")] == []
        assert answer.vary.as_set() == {"origin"}

    def test_no_origin_is_ever_sent_anybodys_cookies_and_everybody_is_never_allowed(self, client):
        for origin in (SHOP, "https://evil.example"):
            answer = client.get("/api/products", headers={"Origin": origin})
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert answer.headers.get("Access-Control-Allow-Origin") in (None, SHOP)


def test_a_refusal_is_secured_like_any_other_answer(client, app, monkeypatch):
    def break_down(_query):
        raise ZeroDivisionError

    monkeypatch.setattr("models.catalogue.list_products", break_down)
    for answer in (client.get("/api/products"), client.get("/login/%00"), client.post("/login", headers=HTML)):
        assert answer.status_code >= 400
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert policies(answer)["frame-ancestors"] == "'none'"


def test_without_its_hook_an_answer_has_none_of_them(store):
    app = create_app()
    app.after_request_funcs[None] = [each for each in app.after_request_funcs[None] if each is not headers._secure]

    assert "Content-Security-Policy" not in app.test_client().get("/api/products").headers
