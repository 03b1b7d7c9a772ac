"""The pages without a browser: what the server says to a person, and to somebody who pretends to be one."""

import re

import pytest

from models.accounts import create_account
from models.gate import admit
from models.purchase import Kind
from models.revocations import revoke, tell_generation
from models.settle import settle_turn
from models.tokens import issue_access_token
from models.user import Role
from web import cookies
from web.auth import identity_of_token
from web.pages.paths import own_path

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"name": "Kim", "email": "kim@shop.test", "password": "customer123"}


def hidden_token(page):
    return re.search(r'name="csrfToken" value="([^"]+)"', page.text)[1]


@pytest.fixture
def kim(store):
    return create_account("Kim", FORM["email"], FORM["password"], Role.CUSTOMER)


@pytest.fixture
def browser(app, kim):
    """A client in which Kim is logged in by the form."""
    client = app.test_client()
    form = {"email": FORM["email"], "password": FORM["password"], "csrfToken": hidden_token(client.get("/login"))}
    assert client.post("/session/login", data=form, headers=HTML).status_code == 303
    return client


def value_of(client, name, path="/"):
    found = client.get_cookie(name, path=path)
    return found.value if found else None


def test_whoever_signs_up_is_a_customer_and_comes_back_to_the_sale_that_they_came_from(client):
    token = hidden_token(client.get("/signup?next=/sales/7"))

    answer = client.post(
        "/session/signup?next=/sales/7", data=FORM | {"csrfToken": token, "role": "admin"}, headers=HTML
    )

    assert (answer.status_code, answer.location) == (303, "/sales/7")
    assert client.get("/api/users/me").json["data"]["role"] == "customer"


def test_a_wrong_password_is_said_beside_the_form_and_never_sent_back(client, kim):
    form = {"email": FORM["email"], "password": "wrong-guess", "csrfToken": hidden_token(client.get("/login"))}

    page = client.post("/session/login", data=form, headers=HTML)

    assert page.status_code == 401
    assert "Wrong e-mail address or password" in page.text
    assert FORM["email"] in page.text
    assert "wrong-guess" not in page.text


def test_failed_logins_by_the_form_are_counted_with_those_by_the_api(client, kim):
    token = hidden_token(client.get("/login"))
    wrong = {"email": FORM["email"], "password": "wrong"}
    for _ in range(5):
        assert client.post("/api/auth/login", json=wrong).status_code == 401

    page = client.post("/session/login", data=wrong | {"csrfToken": token}, headers=HTML)

    assert page.status_code == 429
    assert page.mimetype == "text/html"


def test_a_form_without_its_token_logs_nobody_in(client, kim):
    page = client.post("/session/login", data={"email": FORM["email"], "password": FORM["password"]}, headers=HTML)

    assert page.status_code == 403
    assert value_of(client, cookies.ACCESS) is None


def test_tokens_are_out_of_reach_of_scripts_and_of_other_sites(client, kim):
    form = {"email": FORM["email"], "password": FORM["password"], "csrfToken": hidden_token(client.get("/login"))}

    set_cookies = {
        line.split("=")[0]: line for line in client.post("/session/login", data=form).headers.getlist("Set-Cookie")
    }

    for name in (cookies.ACCESS, cookies.REFRESH):
        assert "HttpOnly" in set_cookies[name]
        assert "SameSite=Lax" in set_cookies[name]
    assert "Path=/session" in set_cookies[cookies.REFRESH]
    assert "HttpOnly" not in set_cookies[cookies.CSRF]


def test_in_production_cookies_travel_over_https_alone(change_settings, app, kim):
    change_settings(ENVIRONMENT="production")
    client = app.test_client()
    base = "https://shop.test"
    form = {"email": FORM["email"], "password": FORM["password"]}
    form["csrfToken"] = hidden_token(client.get("/login", base_url=base))

    answer = client.post("/session/login", data=form, base_url=base)

    assert answer.status_code == 303
    assert all("Secure" in line for line in answer.headers.getlist("Set-Cookie"))


def test_the_api_takes_the_cookie_for_reading_and_asks_for_the_proof_before_it_changes_anything(browser, make_sale):
    purchases = f"/api/flash-sales/{make_sale().id}/purchases"

    assert browser.get("/api/users/me").json["data"]["email"] == FORM["email"]
    refused = browser.post(purchases, json={"quantity": 1})
    proof = {"X-CSRF-Token": value_of(browser, cookies.CSRF)}
    accepted = browser.post(purchases, json={"quantity": 1}, headers=proof)

    assert (refused.status_code, refused.json["code"]) == (403, "CSRF_TOKEN_INVALID")
    assert accepted.status_code == 202


@pytest.mark.parametrize("planted", ["", "x", "1.x.y", "0.nonce.deadbeef"])
def test_a_proof_that_was_planted_from_elsewhere_proves_nothing(browser, make_sale, planted):
    browser.set_cookie(cookies.CSRF, planted)

    answer = browser.post(
        f"/api/flash-sales/{make_sale().id}/purchases", json={"quantity": 1}, headers={"X-CSRF-Token": planted}
    )

    assert answer.status_code == 403


def test_the_proof_of_one_user_is_none_for_another(browser, make_user, make_sale):
    other = make_user()
    browser.set_cookie(cookies.ACCESS, issue_access_token(other.id, other.role))

    proof = {"X-CSRF-Token": value_of(browser, cookies.CSRF)}
    answer = browser.post(f"/api/flash-sales/{make_sale().id}/purchases", json={"quantity": 1}, headers=proof)

    assert answer.status_code == 403


def test_a_token_in_the_header_needs_no_proof_even_beside_a_cookie(browser, kim, make_sale):
    header = {"Authorization": f"Bearer {issue_access_token(kim.id, kim.role)}"}

    answer = browser.post(f"/api/flash-sales/{make_sale().id}/purchases", json={"quantity": 1}, headers=header)

    assert answer.status_code == 202


def test_a_session_goes_on_where_it_was_when_the_access_token_has_run_out(browser):
    browser.delete_cookie(cookies.ACCESS)

    page = browser.get("/account", headers=HTML, follow_redirects=True)

    assert page.status_code == 200
    assert page.request.path == "/account"
    assert "kim@shop.test" in page.text


def test_a_page_that_is_open_renews_its_session_with_the_proof_alone(browser):
    browser.delete_cookie(cookies.ACCESS)

    refused = browser.post("/session/refresh")
    renewed = browser.post("/session/refresh", headers={"X-CSRF-Token": value_of(browser, cookies.CSRF)})

    assert refused.status_code == 403
    assert renewed.status_code == 200
    assert browser.get("/api/users/me").status_code == 200


def test_whoever_logs_out_is_out_everywhere_and_their_old_cookies_are_worth_nothing(browser, app):
    access, refresh = value_of(browser, cookies.ACCESS), value_of(browser, cookies.REFRESH, "/session")
    form = {"csrfToken": value_of(browser, cookies.CSRF)}

    assert browser.post("/session/logout", data=form, headers=HTML).status_code == 303

    thief = app.test_client()
    thief.set_cookie(cookies.ACCESS, access)
    thief.set_cookie(cookies.REFRESH, refresh, path="/session")
    assert thief.get("/api/users/me").status_code == 401
    assert value_of(browser, cookies.ACCESS) is None
    thief.get("/session/resume?next=/account")
    assert value_of(thief, cookies.REFRESH, "/session") is None


def test_nobody_is_logged_out_by_a_page_of_somebody_else(browser):
    assert browser.post("/session/logout", headers=HTML).status_code == 403
    assert browser.get("/api/users/me").status_code == 200


def test_a_revoked_token_leads_to_the_login_page_and_not_round_in_circles(browser, app):
    with app.app_context():
        identity = identity_of_token(value_of(browser, cookies.ACCESS))
    revoke(identity.user_id, identity.jti, identity.expires_at)

    page = browser.get("/account", headers=HTML, follow_redirects=True)

    assert (page.request.path, page.request.args["next"]) == ("/login", "/account")


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "javascript:alert(1)",
        "evil",
        "",
        "/login?next=/login",
        "/session/logout",
        "/" + "a" * 600,
    ],
)
def test_nobody_is_sent_elsewhere(elsewhere):
    assert own_path(elsewhere) == "/"


def test_a_path_of_ours_keeps_its_query():
    assert own_path("/account?cursor=abc") == "/account?cursor=abc"


def test_a_refusal_is_a_page_for_a_person_and_json_for_a_program(client, store):
    page = client.get("/sales/999", headers=HTML)
    program = client.get("/sales/999")

    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "Flash sale not found" in page.text
    assert (program.status_code, program.json["code"]) == (404, "SALE_NOT_FOUND")


def test_the_pages_read_without_scripts(client, make_sale):
    sale = make_sale(total_stock=12, title="Half price <shoes>")

    page = client.get(f"/sales/{sale.id}", headers=HTML).text

    assert "Half price &lt;shoes&gt;" in page
    assert "12 left" in page
    assert "49.99&nbsp;USD" in page
    assert "Half price &lt;shoes&gt;" in client.get("/", headers=HTML).text


def test_the_policy_lets_nothing_in_but_our_own_and_the_socket(client, change_settings, store):
    def sources(page):
        policy = page.headers["Content-Security-Policy"]
        return {part.split()[0]: part.split()[1:] for part in policy.split(";")}

    policy = sources(client.get("/", headers=HTML))
    assert policy["default-src"] == ["'self'"]
    assert policy["connect-src"] == ["'self'", "ws://localhost:8001"]
    assert "unsafe-inline" not in str(policy)

    change_settings(LIVE_URL="wss://live.shop.test/ws")
    assert sources(client.get("/", headers=HTML))["connect-src"] == ["'self'", "wss://live.shop.test"]


def test_pages_hold_neither_scripts_nor_styles_of_their_own(client, make_sale):
    sale = make_sale()

    for path in ("/", f"/sales/{sale.id}", "/login", "/signup"):
        page = client.get(path, headers=HTML).text
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", page), path
        for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL):
            assert 'type="application/json"' in attributes or not body.strip(), path


def test_a_sale_shows_its_buyer_what_they_bought_and_nobody_who_was_shut_out(browser, kim, make_sale):
    sale = make_sale()
    ticket = admit(sale.id, kim.id, Kind.PURCHASE, 1).ticket
    settle_turn(sale.id)
    bought = f'"purchaseId":"{sale.id}-{ticket}"'
    assert bought in browser.get(f"/sales/{sale.id}", headers=HTML).text

    tell_generation(kim.id, 1)

    page = browser.get(f"/sales/{sale.id}", headers=HTML)
    assert page.status_code == 200
    assert bought not in page.text
