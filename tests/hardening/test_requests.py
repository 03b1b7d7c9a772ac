"""Requests that want to get somewhere: a browser sent elsewhere, another host, a line of a header, a file."""

import pytest

from tests.desk.conftest import HTML, hidden_token

PASSWORD = "customer123"
ELSEWHERE = [
    "https://evil.test/",
    "//evil.test/",
    "///evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "/\t/evil.test",
    "/%09/evil.test",
    "/%5cevil.test",
    "/%2f%2fevil.test",
    "javascript:alert(1)",
    "/\r\nSet-Cookie: a=b",
    "/%0d%0aSet-Cookie:%20a=b",
    "https:evil.test",
    "http:///evil.test",
    "/sales/7\u2028//evil.test",
    " //evil.test",
    "/login?next=//evil.test",
]


def stays_here(location):
    """Whether a browser that is sent there stays with us: one slash, and nothing that it would drop or turn round."""
    return (
        location.startswith("/")
        and location[1:2] not in ("/", "\\")
        and location.isprintable()
        and "\\" not in location
    )


class TestWhereABrowserIsSent:
    @pytest.mark.parametrize("wanted", ELSEWHERE)
    def test_nobody_is_sent_elsewhere_after_logging_in(self, client, customer, wanted):
        form = {"email": customer.email, "password": PASSWORD}
        form["csrfToken"] = hidden_token(client.get("/login", query_string={"next": wanted}))

        answer = client.post("/session/login", query_string={"next": wanted}, data=form, headers=HTML)

        assert answer.status_code == 303
        assert stays_here(answer.location), answer.location
        assert len(answer.headers.getlist("Set-Cookie")) == 3  # ours and no other

    @pytest.mark.parametrize("wanted", ELSEWHERE)
    def test_nor_when_a_session_goes_on_or_is_there_already(self, buyer, wanted):
        for path in ("/session/resume", "/login", "/signup"):
            answer = buyer.client.get(path, query_string={"next": wanted}, headers=HTML)
            assert answer.status_code == 303
            assert stays_here(answer.location), (path, answer.location)

    def test_what_is_ours_is_where_one_is_sent(self, buyer):
        answer = buyer.client.get("/login", query_string={"next": "/sales/7?a=b"}, headers=HTML)

        assert answer.location == "/sales/7?a=b"


class TestTheHostHeader:
    @pytest.mark.parametrize("path", ["/account", "/session/resume", "/admin", "/login?next=/sales/7"])
    def test_no_address_that_we_send_a_browser_to_is_made_of_it(self, client, path):
        answer = client.get(path, headers=HTML | {"Host": "evil.test"})

        assert "evil.test" not in (answer.location or "")

    def test_nor_an_address_of_the_api(self, client, admin):
        body = {"name": "Hats"}
        made = client.post("/api/categories", json=body, headers=admin | {"Host": "evil.test"})

        assert made.status_code == 201
        assert made.headers["Location"].startswith("/api/categories/")

    @pytest.mark.parametrize(
        "host", ["evil.test; script-src *", "evil.test' 'unsafe-inline", 'a"><script>', "a b", "evil.test\u00e4"]
    )
    def test_it_widens_no_policy_and_writes_nothing_into_a_page(self, client, host):
        answer = client.get("/", headers=HTML | {"Host": host})

        policy = answer.headers.get("Content-Security-Policy", "")
        assert "script-src *" not in policy
        assert "unsafe-inline" not in policy
        assert "<script>" not in answer.text

    def test_a_page_that_was_made_for_another_host_is_kept_by_no_cache(self, client):
        answer = client.get("/", headers=HTML | {"Host": "evil.test"})

        assert answer.headers["Cache-Control"] == "no-store"


class TestWhatIsWrittenIntoHeaders:
    @pytest.mark.parametrize("strange", ["a\r\nX-Evil: 1", "abcdefgh\nX-Evil: 1", "a" * 9000, "\x00" * 10])
    def test_an_id_of_a_request_that_could_break_a_line_is_not_taken_over(self, app, strange):
        environ = {"HTTP_X_REQUEST_ID": strange}
        answer = app.test_client().get("/healthz", environ_overrides=environ)

        assert len(answer.headers["X-Request-Id"]) == 32
        assert "X-Evil" not in answer.headers

    def test_a_preference_and_a_key_come_back_in_no_header(self, client, auth, customer, make_sale):
        sale = make_sale()
        sent = auth(customer) | {"Prefer": "wait=0, evil=1", "Idempotency-Key": "abc-evil-key"}

        answer = client.post(f"/api/flash-sales/{sale.id}/purchases", json={"quantity": 1}, headers=sent)

        assert answer.status_code == 202
        assert "evil" not in str(answer.headers)


class TestFiles:
    @pytest.mark.parametrize(
        "path",
        [
            "/static/../app.py",
            "/static/%2e%2e/app.py",
            "/static/..%2fapp.py",
            "/static/%2e%2e%2f%2e%2e%2f.env.example",
            "/static/....//app.py",
            "/static//etc/passwd",
            "/static/%2fetc%2fpasswd",
            "/static/..\\app.py",
            "/static/%00/../app.py",
            "/static/js/../../app.py",
            "/api/docs/static/../../../app.py",
            "/api/docs/swagger/..%2f..%2fopenapi.py",
            "/api/docs/redoc/..%2f..%2f..%2f..%2fapp.py",
        ],
    )
    def test_nothing_is_served_from_outside_of_its_folder(self, client, path):
        answer = client.get(path, buffered=True)

        assert answer.status_code in (301, 308, 400, 404)
        assert b"import" not in answer.data

    def test_what_lies_inside_is_served(self, client):
        assert client.get("/static/js/dom.js", buffered=True).status_code == 200
