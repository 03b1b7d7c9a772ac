"""Logging in: what a guess costs, what it tells, and that what was known before is worth nothing afterwards."""

import pytest
from argon2 import extract_parameters

from models import passwords
from models.accounts import block
from models.tokens import issue_access_token
from tests.desk.conftest import HTML, hidden_token
from web import cookies

PASSWORD = "customer123"
HERE, THERE = "203.0.113.7", "198.51.100.9"
DOORS = ("/api/auth/login", "/api/signin", "/signin")


def log_in(client, password=PASSWORD, email="ann@shop.test", *, address=HERE, door=DOORS[0]):
    body = {"email": email, "password": password}
    return client.post(door, json=body, environ_overrides={"REMOTE_ADDR": address})


@pytest.fixture
def verified(monkeypatch):
    """The hashes that passwords were tried against, each by the real work."""
    tried = []
    verify = passwords._verify

    def note(password_hash, password):
        tried.append(password_hash)
        return verify(password_hash, password)

    monkeypatch.setattr(passwords, "_verify", note)
    return tried


class TestTheWorkOfALogIn:
    @pytest.mark.parametrize("door", DOORS)
    def test_an_address_that_nobody_has_costs_one_hash_as_a_wrong_password_does(self, client, customer, verified, door):
        unknown = log_in(client, "wrong", "nobody@shop.test", door=door)
        assert len(verified) == 1
        wrong = log_in(client, "wrong", customer.email, door=door)
        assert len(verified) == 2

        assert extract_parameters(verified[0]) == extract_parameters(verified[1])
        assert unknown.status_code == wrong.status_code == 401
        assert unknown.data == wrong.data

    def test_so_does_an_account_without_a_password_and_one_that_is_blocked(
        self, client, make_user, password_hash, verified
    ):
        without, blocked = make_user(), make_user(password_hash=password_hash)
        block(blocked.id, by=make_user(role="admin").id)
        answers = [log_in(client, "wrong", user.email) for user in (without, blocked)]

        assert len(verified) == 2
        assert [answer.json["code"] for answer in answers] == ["BAD_CREDENTIALS"] * 2

    def test_that_an_account_is_blocked_is_told_only_to_who_knows_its_password(self, client, make_user, password_hash):
        blocked = make_user(password_hash=password_hash)
        block(blocked.id, by=make_user(role="admin").id)

        assert log_in(client, PASSWORD, blocked.email).json["code"] == "ACCOUNT_BLOCKED"

    def test_the_form_does_the_same_work(self, client, customer, verified):
        token = hidden_token(client.get("/login"))
        for email in ("nobody@shop.test", customer.email):
            form = {"email": email, "password": "wrong", "csrfToken": token}
            assert client.post("/session/login", data=form, headers=HTML).status_code == 401

        assert len(verified) == 2


class TestGuessing:
    def test_an_address_is_shut_out_of_an_account_and_nobody_else_is(self, client, customer):
        tried = [log_in(client, "wrong").status_code for _ in range(6)]

        assert tried == [401] * 5 + [429]
        assert log_in(client).status_code == 429
        # Whoever wants to keep a customer out of a sale finds that it cannot be done from elsewhere.
        assert log_in(client, address=THERE).status_code == 200

    def test_all_doors_count_together(self, client, customer):
        for number in range(5):
            assert log_in(client, "wrong", door=DOORS[number % 3]).status_code == 401

        assert {log_in(client, "wrong", door=door).status_code for door in DOORS} == {429}

    def test_who_mistypes_an_address_in_capitals_or_with_blanks_guesses_at_the_same_account(self, client, customer):
        for email in ("ann@shop.test", "ANN@shop.test", " ann@shop.test", "Ann@Shop.Test ", "ann@SHOP.test"):
            assert log_in(client, "wrong", email).status_code == 401

        assert log_in(client, "wrong").status_code == 429

    def test_another_forwarded_address_is_no_other_address_unless_a_proxy_of_ours_says_so(self, client, customer):
        for number in range(5):
            headers = {"X-Forwarded-For": f"192.0.2.{number}"}
            body = {"email": customer.email, "password": "wrong"}
            assert client.post(DOORS[0], json=body, headers=headers).status_code == 401

        answer = client.post(DOORS[0], json=body, headers={"X-Forwarded-For": "192.0.2.99"})
        assert answer.status_code == 429

    def test_one_address_cannot_go_through_accounts_either(self, client, customer):
        tried = [log_in(client, "wrong", f"someone{number}@shop.test").status_code for number in range(11)]

        assert tried == [401] * 10 + [429]

    def test_without_the_limit_it_could_go_on(self, client, customer, change_settings):
        change_settings(RATE_LIMIT_EXEMPT=f"{HERE}/32")

        assert {log_in(client, "wrong").status_code for _ in range(8)} == {401}


class TestSessions:
    def form(self, client, **more):
        return {"email": "ann@shop.test", "password": PASSWORD, "csrfToken": hidden_token(client.get("/login"))} | more

    def test_every_log_in_makes_new_tokens_and_a_new_proof(self, app, customer):
        seen = set()
        for _ in range(2):
            client = app.test_client()
            client.post("/session/login", data=self.form(client), headers=HTML)
            places = ((cookies.ACCESS, "/"), (cookies.REFRESH, cookies.REFRESH_PATH), (cookies.CSRF, "/"))
            seen |= {client.get_cookie(name, path=path).value for name, path in places}

        assert len(seen) == 6

    def test_what_was_planted_before_a_log_in_is_replaced_by_it(self, app, customer, make_user):
        client, other = app.test_client(), make_user()
        form = self.form(client)
        planted = issue_access_token(other.id, "customer")
        client.set_cookie(cookies.REFRESH, planted, path=cookies.REFRESH_PATH)
        before = client.get_cookie(cookies.CSRF).value

        client.post("/session/login", data=form, headers=HTML)

        assert client.get_cookie(cookies.REFRESH, path=cookies.REFRESH_PATH).value != planted
        assert client.get_cookie(cookies.CSRF).value != before
        assert client.get("/api/users/me").json["data"]["id"] == str(customer.id)
        # The proof that a page gave to nobody proves nothing for somebody.
        answer = client.post("/api/ws-tickets", headers={cookies.CSRF_HEADER: before})
        assert answer.json["code"] == "CSRF_TOKEN_INVALID"

    def test_a_json_body_that_a_form_of_another_site_can_send_is_not_read(self, client, customer):
        body = f'{{"email": "{customer.email}", "password": "{PASSWORD}"}}'

        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"):
            assert client.post("/api/auth/login", data=body, content_type=kind).status_code == 415
