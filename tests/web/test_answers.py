"""What every answer carries, and what is written of a request."""

import logging
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from models.errors import ConflictError, DomainError, ForbiddenError, InvalidError, NotFoundError, UnavailableError
from models.gate import KeyReusedError, LimitExceededError
from models.logs import add_names, redact
from web.errors import status_of
from web.json import to_json


def test_money_is_written_digit_by_digit_and_times_in_utc():
    written = to_json(
        {
            "price": Decimal("10.10"),
            "large": Decimal("1E+3"),
            "at": datetime(2026, 11, 27, 19, 0, tzinfo=timezone(timedelta(hours=1))),
        }
    )

    assert written == b'{"price":10.10,"large":1000,"at":"2026-11-27T18:00:00.000Z"}'


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), object()])
def test_what_is_no_json_is_not_written(value):
    with pytest.raises(TypeError):
        to_json(value)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidError(), 400),
        (ConflictError("…", code="ACTIVE_SALE_EXISTS"), 400),
        (ForbiddenError(), 403),
        (NotFoundError(), 404),
        (ConflictError("…", code="SOLD_OUT"), 409),
        (ConflictError("…", code="NOT_STARTED"), 409),
        (LimitExceededError(), 422),
        (KeyReusedError(), 422),
        (UnavailableError("…", code="LINE_FULL"), 503),
        (DomainError(), 409),
    ],
)
def test_every_refusal_has_its_status(error, status):
    assert status_of(error) == status


def test_a_refusals_data_is_told(client, monkeypatch):
    def refuse(_product_id):
        raise ConflictError("Not yet", code="NOT_STARTED", data={"startsAt": datetime(2026, 11, 27, tzinfo=UTC)})

    monkeypatch.setattr("models.catalogue.find_product", refuse)

    answer = client.get("/api/products/1")

    assert answer.json == {
        "success": False,
        "message": "Not yet",
        "error": "Not yet",
        "code": "NOT_STARTED",
        "errors": [],
        "statusCode": 409,
        "data": {"startsAt": "2026-11-27T00:00:00.000Z"},
    }


def test_what_is_full_says_when_to_come_back(client, monkeypatch):
    def refuse(_product_id):
        raise UnavailableError("Full", code="LINE_FULL")

    monkeypatch.setattr("models.catalogue.find_product", refuse)

    assert client.get("/api/products/1").headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["/api/products", "/api/nothing", "/api/users/me", "/healthz"])
def test_nothing_of_the_api_runs_is_framed_or_is_kept(client, path):
    headers = client.get(path).headers

    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_a_sane_request_id_is_taken_over_and_another_is_replaced(client):
    assert (
        client.get("/healthz", headers={"X-Request-Id": "from-the-proxy-1"}).headers["X-Request-Id"]
        == "from-the-proxy-1"
    )
    for strange in ("short", "x" * 65, "with space inside", '"><script>'):
        given = client.get("/healthz", headers={"X-Request-Id": strange}).headers["X-Request-Id"]
        assert len(given) == 32
        assert given != strange


@pytest.fixture
def _talkative(app):
    """Everything is logged, as far as a test listens."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(before)


@pytest.mark.usefixtures("_talkative")
def test_each_request_has_one_line_in_the_log_with_its_route_and_no_secret(client, customer, auth):
    with capture_logs(processors=[add_names]) as lines:
        client.get("/api/users/me?token=abc", headers=auth(customer) | {"X-Request-Id": "request-0001"})

    (line,) = [line for line in lines if line["event"] == "request"]
    assert line.pop("ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "route": "/api/users/me",
        "status": 200,
        "user": customer.id,
        "request_id": "request-0001",
    }


@pytest.mark.usefixtures("_talkative")
def test_health_is_not_in_the_log_at_info(client):
    with capture_logs() as lines:
        client.get("/healthz")

    assert [line["log_level"] for line in lines] == ["debug"]


def test_a_failure_is_in_the_log_with_its_request(client, monkeypatch):
    def break_down(_query):
        raise ZeroDivisionError

    monkeypatch.setattr("models.catalogue.list_products", break_down)

    with capture_logs(processors=[add_names]) as lines:
        answer = client.get("/api/products")

    (failure,) = [line for line in lines if line["event"] == "request.failed"]
    assert failure["request_id"] == answer.headers["X-Request-Id"]
    assert isinstance(failure["exc_info"], ZeroDivisionError)


def test_secrets_are_blanked_out_wherever_they_are_logged():
    event = {
        "event": "token.issued",
        "accessToken": "ey",
        "password": "p",
        "headers": {"Authorization": "B", "Accept": "*"},
    }

    assert redact(None, "info", event) == {
        "event": "token.issued",
        "accessToken": "[redacted]",
        "password": "[redacted]",
        "headers": {"Authorization": "[redacted]", "Accept": "*"},
    }


class TestOtherOrigins:
    def test_none_is_allowed_unless_the_settings_name_it(self, client):
        headers = client.get("/api/products", headers={"Origin": "https://shop.example"}).headers

        assert "Access-Control-Allow-Origin" not in headers

    def test_the_named_one_may_call_and_another_may_not(self, client, change_settings):
        change_settings(CORS_ORIGINS="https://shop.example, https://other.example")

        named = client.get("/api/products", headers={"Origin": "https://shop.example"}).headers
        stranger = client.get("/api/products", headers={"Origin": "https://evil.example"}).headers

        assert named["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Access-Control-Allow-Credentials" not in named
        assert "Access-Control-Allow-Origin" not in stranger
        assert named["Vary"] == stranger["Vary"] == "Origin"

    def test_a_browser_may_ask_first(self, client, change_settings):
        change_settings(CORS_ORIGINS="https://shop.example")

        answer = client.options(
            "/api/users/me",
            headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"},
        )

        assert answer.status_code == 200
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
