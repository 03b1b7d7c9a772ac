from base64 import urlsafe_b64encode
from datetime import timedelta

import jwt
import pytest
import time_machine

from models.clock import now
from models.database import transaction
from models.redisclient import redis_client
from models.settings import settings
from models.tokens import LEEWAY_SECONDS, issue_refresh_token
from models.user import User
from web.auth import issue_access_token, redeem_ticket
from web.unauthorized import UnauthorizedError

PASSWORD = "customer123"


@pytest.fixture
def session(client, customer):
    """What a login answers."""
    return client.post("/api/auth/login", json={"email": customer.email, "password": PASSWORD}).json["data"]


def _bearer(token):
    return {"Authorization": f"Bearer {token}"}


def _me(client, token):
    answer = client.get("/api/users/me", headers=_bearer(token))
    return answer.status_code, answer.json.get("code")


def _signed(key=None, algorithm="HS256", **claims):
    sound = {
        "sub": "1",
        "role": "customer",
        "type": "access",
        "jti": "a",
        "iss": "doorbuster",
        "aud": "doorbuster",
        "exp": now() + timedelta(minutes=1),
    }
    return jwt.encode(sound | claims, key or settings().jwt_secret_key, algorithm=algorithm)


def _nested_claims():
    """Claims that nest deeper than Python parses: read before the signature is known to be wrong."""
    header = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
    claims = urlsafe_b64encode(b'{"sub":' + b"[" * 5_000 + b"]" * 5_000 + b"}").rstrip(b"=").decode()
    return f"{header}.{claims}.c2ln"


def test_without_a_token_nobody_gets_in(client):
    answer = client.get("/api/users/me")

    assert (answer.status_code, answer.json["code"]) == (401, "TOKEN_MISSING")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_scheme_is_read_in_any_case(client, customer):
    token = issue_access_token(customer.id, "customer")

    assert client.get("/api/users/me", headers={"Authorization": f"bearer  {token}"}).status_code == 200
    assert client.get("/api/users/me", headers={"Authorization": "Basic YTpi"}).json["code"] == "TOKEN_MISSING"


def test_a_token_that_was_seen_before_expires_all_the_same(client, customer):
    token = issue_access_token(customer.id, "customer")
    assert _me(client, token)[0] == 200

    with time_machine.travel(now() + timedelta(minutes=16)):
        assert _me(client, token) == (401, "TOKEN_EXPIRED")


def test_an_expired_token_says_that_it_has_expired(client, customer):
    token = issue_access_token(customer.id, "customer", timedelta(seconds=-30))

    assert _me(client, token) == (401, "TOKEN_EXPIRED")


@pytest.mark.parametrize(
    "forge",
    [
        lambda: "abc",
        lambda: "a.b.c",
        lambda: "ü",
        lambda: _signed(key="somebody else's key, forty characters...."),
        lambda: jwt.encode({"sub": "1", "role": "admin", "type": "access", "jti": "a"}, None, algorithm="none"),
        lambda: _signed(iss="elsewhere"),
        lambda: _signed(aud="elsewhere"),
        lambda: _signed(sub="nobody"),
        lambda: _signed(role=None) + "x",
        lambda: _signed(exp="soon"),
        _nested_claims,
    ],
)
def test_a_forged_token_is_refused(client, forge):
    answer = client.get("/api/users/me", headers=_bearer(forge()))

    assert (answer.status_code, answer.json["code"]) == (401, "TOKEN_INVALID")


def test_authentication_comes_before_the_body_is_looked_at(client):
    answer = client.post("/api/products", data=b"no json", content_type="text/plain")

    assert answer.status_code == 401


def test_a_refresh_token_opens_no_door(client, session):
    assert _me(client, session["refreshToken"]) == (401, "TOKEN_INVALID")


def test_an_access_token_cannot_be_refreshed_with(client, session):
    answer = client.post("/api/auth/refresh", json={"refreshToken": session["accessToken"]})

    assert (answer.status_code, answer.json["code"]) == (401, "TOKEN_INVALID")


def test_a_refresh_token_is_good_for_one_new_pair(client, session):
    first = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})
    second = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})

    assert first.status_code == 200
    assert _me(client, first.json["data"]["accessToken"])[0] == 200
    assert (second.status_code, second.json["code"]) == (401, "TOKEN_REVOKED")
    assert (
        client.post("/api/auth/refresh", json={"refreshToken": first.json["data"]["refreshToken"]}).status_code == 200
    )


def _used_long_ago(seconds):
    """As if what was used had been used so long ago."""
    (key,) = redis_client().keys("*:revoked:*")
    _, used_ms, nonce = redis_client().get(key).split(":")
    redis_client().set(key, f"used:{int(used_ms) - seconds * 1_000}:{nonce}", keepttl=True)


def test_a_double_click_on_a_refresh_logs_nobody_out(client, session):
    first = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]}).json["data"]
    again = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})

    assert again.json["code"] == "TOKEN_REVOKED"
    assert _me(client, first["accessToken"])[0] == 200
    assert client.post("/api/auth/refresh", json={"refreshToken": first["refreshToken"]}).status_code == 200


def test_a_refresh_token_that_comes_back_later_logs_the_thief_and_the_robbed_out(client, customer, session):
    first = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]}).json["data"]
    elsewhere = client.post("/api/auth/login", json={"email": customer.email, "password": PASSWORD}).json["data"]
    _used_long_ago(seconds=11)

    again = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})

    assert (again.status_code, again.json["code"]) == (401, "TOKEN_REVOKED")
    for theirs in (first, elsewhere):
        assert _me(client, theirs["accessToken"]) == (401, "TOKEN_REVOKED")
        answer = client.post("/api/auth/refresh", json={"refreshToken": theirs["refreshToken"]})
        assert answer.json["code"] == "TOKEN_REVOKED"


def test_whoever_logs_in_again_after_a_theft_is_not_logged_out_by_the_old_token(client, customer, session):
    client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})
    _used_long_ago(seconds=11)
    client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})
    fresh = client.post("/api/auth/login", json={"email": customer.email, "password": PASSWORD}).json["data"]

    for _ in range(3):
        client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})

    assert _me(client, fresh["accessToken"])[0] == 200


def test_a_refresh_token_that_was_logged_out_with_is_no_sign_of_theft(client, customer, session):
    elsewhere = client.post("/api/auth/login", json={"email": customer.email, "password": PASSWORD}).json["data"]
    client.post(
        "/api/auth/logout", headers=_bearer(session["accessToken"]), json={"refreshToken": session["refreshToken"]}
    )

    client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})

    assert _me(client, elsewhere["accessToken"])[0] == 200


def test_who_was_made_an_admin_is_one_after_the_next_refresh(client, customer, session):
    with transaction() as database:
        database.get_one(User, customer.id).role = "admin"

    fresh = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]}).json["data"]

    assert fresh["user"]["role"] == "admin"
    assert client.get("/api/users", headers=_bearer(fresh["accessToken"])).status_code == 200


def test_a_blocked_account_cannot_refresh(client, customer, session):
    with transaction() as database:
        database.get_one(User, customer.id).blocked_at = now()

    answer = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})

    assert (answer.status_code, answer.json["code"]) == (403, "ACCOUNT_BLOCKED")


def test_a_token_of_an_account_that_is_gone_is_worth_nothing(client):
    assert _me(client, issue_access_token(404, "customer")) == (401, "TOKEN_INVALID")


def test_logging_out_ends_both_tokens(client, session):
    answer = client.post(
        "/api/auth/logout", headers=_bearer(session["accessToken"]), json={"refreshToken": session["refreshToken"]}
    )

    assert answer.status_code == 200
    assert _me(client, session["accessToken"]) == (401, "TOKEN_REVOKED")
    refreshed = client.post("/api/auth/refresh", json={"refreshToken": session["refreshToken"]})
    assert refreshed.json["code"] == "TOKEN_REVOKED"


def test_logging_out_needs_no_body(client, session):
    assert client.post("/api/auth/logout", headers=_bearer(session["accessToken"])).status_code == 200
    assert _me(client, session["accessToken"]) == (401, "TOKEN_REVOKED")


def test_nobody_logs_anybody_else_out(client, session, make_user):
    theirs = issue_refresh_token(make_user().id, "customer")

    client.post("/api/auth/logout", headers=_bearer(session["accessToken"]), json={"refreshToken": theirs})

    assert client.post("/api/auth/refresh", json={"refreshToken": theirs}).status_code == 200


def test_a_revocation_is_kept_until_the_token_would_have_expired(client, session):
    client.post("/api/auth/logout", headers=_bearer(session["accessToken"]))

    (key,) = redis_client().keys("*:revoked:*")
    # With the seconds by which another machine's clock may be behind.
    assert 14 * 60 < redis_client().ttl(key) <= 15 * 60 + 1 + LEEWAY_SECONDS


def test_a_socket_ticket_is_good_once_and_for_seconds(client, customer, auth):
    answer = client.post("/api/ws-tickets", headers=auth(customer))
    ticket = answer.json["data"]["ticket"]
    assert 0 < redis_client().ttl(f"socket-ticket:{ticket}") <= 30

    assert redeem_ticket(ticket).user_id == customer.id
    with pytest.raises(UnauthorizedError):
        redeem_ticket(ticket)
