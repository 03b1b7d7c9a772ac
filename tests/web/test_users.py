"""Users as admins change them over the API, and what that does to the tokens that are about."""

import pytest
from sqlalchemy import select

from models import accounts
from models.clock import now
from models.database import transaction
from models.operator_log import OperatorEntry
from models.redisclient import redis_client
from models.tokens import issue_access_token
from models.user import User
from web import cookies
from web.limits import limiter

PASSWORD = "customer123"


def _bearer(token):
    return {"Authorization": f"Bearer {token}"}


def _log_in(client, email, password=PASSWORD):
    return client.post("/api/auth/login", json={"email": email, "password": password})


@pytest.fixture
def olga(make_user, password_hash):
    """An admin who can log in."""
    return make_user(role="admin", name="Olga", email="olga@shop.test", password_hash=password_hash)


@pytest.fixture
def as_olga(client, olga, auth):
    """as_olga("POST", path, {…}) -> the answer"""
    return lambda method, path, body=None: client.open(path, method=method, json=body, headers=auth(olga))


@pytest.fixture
def session(client, customer):
    """What a login of the customer answers."""
    return _log_in(client, customer.email).json["data"]


def _refused(client, session):
    """The codes with which both tokens are refused."""
    access = client.get("/api/users/me", headers=_bearer(session["accessToken"]))
    refresh = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})
    return access.json.get("code"), refresh.json.get("code")


def test_an_admin_makes_customers_and_admins(client, as_olga):
    made = as_olga("POST", "/api/users", {"name": "Bo", "email": "BO@shop.test", "password": PASSWORD, "role": "admin"})

    assert made.status_code == 201
    user = made.json["data"]
    assert (made.headers["Location"], user["role"], user["blockedAt"]) == (f"/api/users/{user['id']}", "admin", None)
    assert as_olga("GET", made.headers["Location"]).json["data"] == user
    bo = _log_in(client, "bo@shop.test").json["data"]["accessToken"]
    assert client.get("/api/users", headers=_bearer(bo)).status_code == 200
    again = as_olga("POST", "/api/users", {"name": "Bo", "email": "bo@shop.test", "password": PASSWORD})
    assert (again.status_code, again.json["code"]) == (409, "EMAIL_TAKEN")


@pytest.mark.parametrize(
    "call",
    [
        "POST /api/users",
        "GET /api/users/1",
        "PATCH /api/users/1",
        "POST /api/users/1/block",
        "POST /api/users/1/unblock",
    ],
)
def test_only_admins_see_and_change_accounts(client, customer, auth, call):
    method, path = call.split()
    body = None if method == "GET" else {"role": "admin"}

    assert client.open(path, method=method, json=body).status_code == 401
    assert client.open(path, method=method, json=body, headers=auth(customer)).status_code == 403


def test_a_blocked_user_is_refused_at_once_and_let_in_again_by_a_new_login(client, customer, session, as_olga):
    blocked = as_olga("POST", f"/api/users/{customer.id}/block")

    assert (blocked.status_code, blocked.json["message"]) == (200, "User blocked successfully")
    assert blocked.json["data"]["blockedAt"].endswith("Z")
    assert _refused(client, session) == ("TOKEN_REVOKED", "ACCOUNT_BLOCKED")
    assert _log_in(client, customer.email).json["code"] == "ACCOUNT_BLOCKED"

    freed = as_olga("POST", f"/api/users/{customer.id}/unblock")
    assert freed.json["data"]["blockedAt"] is None
    assert _refused(client, session) == ("TOKEN_REVOKED", "TOKEN_REVOKED")
    fresh = _log_in(client, customer.email).json["data"]
    assert _refused(client, fresh) == (None, None)


def test_control_a_block_that_only_the_row_knows_leaves_the_access_token_good(client, customer, session):
    with transaction() as database:
        database.get_one(User, customer.id).blocked_at = now()

    # A purchase reads no account: without the generation it would go on for a quarter of an hour.
    answer = client.post("/api/ws-tickets", headers=_bearer(session["accessToken"]))

    assert answer.status_code == 201


def test_whoever_becomes_an_admin_logs_in_as_one_and_whoever_was_one_acts_no_more(client, customer, session, as_olga):
    made = as_olga("PATCH", f"/api/users/{customer.id}", {"role": "admin", "name": "Anna"})
    assert (made.json["data"]["role"], made.json["data"]["name"]) == ("admin", "Anna")
    assert _refused(client, session) == ("TOKEN_REVOKED", "TOKEN_REVOKED")
    admin = _bearer(_log_in(client, customer.email).json["data"]["accessToken"])
    assert client.get("/api/users", headers=admin).status_code == 200

    as_olga("PATCH", f"/api/users/{customer.id}", {"role": "customer"})

    assert client.get("/api/users", headers=admin).json["code"] == "TOKEN_REVOKED"


def test_a_new_name_logs_nobody_out(client, customer, session, as_olga):
    assert as_olga("PATCH", f"/api/users/{customer.id}", {"name": "Anna"}).json["data"]["name"] == "Anna"

    assert _refused(client, session) == (None, None)


def test_nobody_blocks_or_demotes_themselves(as_olga, olga):
    for answer in (
        as_olga("POST", f"/api/users/{olga.id}/block"),
        as_olga("PATCH", f"/api/users/{olga.id}", {"role": "customer"}),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "OWN_ACCOUNT")
    assert as_olga("GET", f"/api/users/{olga.id}").json["data"]["role"] == "admin"


@pytest.mark.parametrize(
    "body", [{"role": "king"}, {"name": ""}, {"email": "a@b.c"}, {"name": None}, {"blockedAt": None}]
)
def test_what_is_no_name_and_no_role_is_refused(as_olga, customer, body):
    assert as_olga("PATCH", f"/api/users/{customer.id}", body).json["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize("user_id", ["99", "me", "64b8f0c2a7"])
def test_a_user_who_is_not_there_is_not_found(as_olga, user_id):
    answers = [as_olga("POST", f"/api/users/{user_id}/{deed}") for deed in ("block", "unblock")]

    assert {(answer.status_code, answer.json["code"]) for answer in answers} == {(404, "USER_NOT_FOUND")}


def test_deeds_stand_in_the_operators_log_without_passwords(as_olga, olga, customer):
    made = as_olga("POST", "/api/users", {"name": "Bo", "email": "bo@shop.test", "password": PASSWORD})
    as_olga("POST", f"/api/users/{customer.id}/block")
    as_olga("PATCH", f"/api/users/{customer.id}", {"role": "admin"})

    with transaction() as database:
        entries = database.scalars(select(OperatorEntry).order_by(OperatorEntry.id)).all()
    assert [(each.actor_id, each.action, each.subject) for each in entries] == [
        (olga.id, "users.create", f"user:{made.json['data']['id']}"),
        (olga.id, "users.block", f"user:{customer.id}"),
        (olga.id, "users.change", f"user:{customer.id}"),
    ]
    assert entries[0].details["given"]["password"] == "…"
    assert PASSWORD not in str([each.details for each in entries])


def test_a_block_that_redis_was_not_told_of_says_so(client, customer, as_olga, store, monkeypatch):
    """Redis goes away between the check of the admin's own token and the telling."""
    tell = accounts.tell_generation

    def lose_redis(*arguments):
        store.valkey.kill()
        tell(*arguments)

    monkeypatch.setattr(accounts, "tell_generation", lose_redis)
    try:
        answer = as_olga("POST", f"/api/users/{customer.id}/block")
    finally:
        store.valkey.start()
        redis_client().connection_pool.disconnect()

    assert answer.status_code == 200
    assert "as soon as Redis is back" in answer.json["message"]
    assert answer.json["data"]["blockedAt"] is not None


def test_a_new_password_logs_everybody_else_out_and_the_answer_goes_on(client, customer, session):
    answer = client.post(
        "/api/users/me/password",
        headers=_bearer(session["accessToken"]),
        json={"oldPassword": PASSWORD, "newPassword": "another one "},
    )

    assert answer.status_code == 200
    assert _refused(client, session) == ("TOKEN_REVOKED", "TOKEN_REVOKED")
    assert _refused(client, answer.json["data"]) == (None, None)
    assert _log_in(client, customer.email).json["code"] == "BAD_CREDENTIALS"
    assert _log_in(client, customer.email, "another one ").status_code == 200


def test_a_wrong_old_password_changes_nothing_and_is_not_tried_for_ever(client, customer, session, change_settings):
    change_settings(RATE_LIMIT_LOGIN_ADDRESS="2/minute")
    limiter.reset()

    def change(old):
        header = _bearer(session["accessToken"])
        body = {"oldPassword": old, "newPassword": "another one"}
        return client.post("/api/users/me/password", headers=header, json=body).json.get("code")

    assert [change("wrong") for _ in range(3)] == ["WRONG_PASSWORD", "WRONG_PASSWORD", "RATE_LIMITED"]
    assert change(PASSWORD) == "RATE_LIMITED"
    assert _refused(client, session) == (None, None)


def test_an_account_without_a_password_has_none_to_change(client, make_user, auth):
    body = {"oldPassword": "the password of nobody", "newPassword": "another one"}

    answer = client.post("/api/users/me/password", headers=auth(make_user()), json=body)

    assert (answer.status_code, answer.json["code"]) == (403, "WRONG_PASSWORD")


def test_whoever_is_gone_or_blocked_has_no_password_to_change(client, customer, session):
    body = {"oldPassword": PASSWORD, "newPassword": "another one"}

    gone = client.post("/api/users/me/password", headers=_bearer(issue_access_token(404, "customer")), json=body)
    with transaction() as database:
        database.get_one(User, customer.id).blocked_at = now()
    blocked = client.post("/api/users/me/password", headers=_bearer(session["accessToken"]), json=body)

    assert (gone.json["code"], blocked.json["code"]) == ("TOKEN_INVALID", "ACCOUNT_BLOCKED")


def test_a_browser_that_changes_its_password_stays_logged_in(client, customer):
    token = client.get("/login").text.partition('name="csrfToken" value="')[2].partition('"')[0]
    form = {"email": customer.email, "password": PASSWORD, "csrfToken": token}
    client.post("/session/login", data=form)
    body = {"oldPassword": PASSWORD, "newPassword": "another one"}
    proof = {cookies.CSRF_HEADER: client.get_cookie(cookies.CSRF).value}

    assert client.post("/api/users/me/password", json=body).json["code"] == "CSRF_TOKEN_INVALID"
    assert client.post("/api/users/me/password", json=body, headers=proof).status_code == 200

    assert client.get("/api/users/me").status_code == 200
    proof = {cookies.CSRF_HEADER: client.get_cookie(cookies.CSRF).value}
    assert client.post("/session/refresh", headers=proof).status_code == 200


def test_a_browser_of_a_blocked_user_is_logged_out(client, customer, as_olga):
    token = client.get("/login").text.partition('name="csrfToken" value="')[2].partition('"')[0]
    client.post("/session/login", data={"email": customer.email, "password": PASSWORD, "csrfToken": token})
    as_olga("POST", f"/api/users/{customer.id}/block")

    assert client.get("/api/users/me").json["code"] == "TOKEN_REVOKED"
    client.get("/session/resume")
    assert client.get_cookie(cookies.ACCESS) is None
    assert client.get_cookie(cookies.REFRESH, path=cookies.REFRESH_PATH) is None


def test_where_redis_forgot_the_row_still_knows_that_the_session_is_over(client, customer, session, as_olga):
    as_olga("PATCH", f"/api/users/{customer.id}", {"role": "admin"})
    redis_client().flushall()

    assert _refused(client, session) == ("TOKEN_REVOKED", "TOKEN_REVOKED")


def test_a_token_of_a_later_generation_than_redis_knows_is_good(client, customer):
    with transaction() as database:
        database.get_one(User, customer.id).token_generation = 3

    token = issue_access_token(customer.id, "customer", generation=3)

    assert client.get("/api/users/me", headers=_bearer(token)).status_code == 200
