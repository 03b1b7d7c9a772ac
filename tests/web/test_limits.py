import pytest
from flask import Flask

from models.redisclient import redis_client
from web.limits import client_address, limit_logins

PASSWORD = "customer123"


def _log_in(client, password, email="ann@shop.test", **environ):
    body = {"email": email, "password": password}
    return client.post("/api/auth/login", json=body, environ_overrides=environ).status_code


def _many(count, ask):
    return [ask() for _ in range(count)]


def test_the_limit_is_told_and_then_kept(client, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="3/minute")

    answers = _many(4, lambda: client.get("/api/products"))

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"3-in-60";q=3;w=60, "60000-in-60";q=60000;w=60'
    refused = answers[-1]
    assert refused.json["code"] == "RATE_LIMITED"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"].startswith('"3-in-60";r=0;t=')
    assert refused.headers["X-RateLimit-Limit"] == "3"


def test_each_user_has_a_limit_of_their_own_whatever_the_address(client, change_settings, make_user, auth):
    change_settings(RATE_LIMIT_DEFAULT="2/minute")
    ann, ben = auth(make_user()), auth(make_user())

    assert [client.get("/api/products", headers=ann).status_code for _ in range(3)] == [200, 200, 429]
    assert client.get("/api/products", headers=ben).status_code == 200


def test_a_forged_token_buys_no_fresh_limit(client, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="2/minute")

    statuses = [
        client.get("/api/products", headers={"Authorization": f"Bearer forged.{number}.x"}).status_code
        for number in range(3)
    ]

    assert statuses == [200, 200, 429]


def test_an_ipv6_customer_counts_as_one_whatever_address_of_theirs_they_use(client, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="2/minute")

    statuses = [
        client.get("/api/products", environ_overrides={"REMOTE_ADDR": f"2001:db8:0:1::{number}"}).status_code
        for number in range(3)
    ]

    assert statuses == [200, 200, 429]


def test_wrong_passwords_are_limited_for_an_account_and_right_ones_are_not(client, customer, change_settings):
    change_settings(RATE_LIMIT_LOGIN_ADDRESS="2/minute", RATE_LIMIT_LOGIN="100/minute")

    assert _many(4, lambda: _log_in(client, PASSWORD)) == [200] * 4
    assert _many(3, lambda: _log_in(client, "wrong")) == [401, 401, 429]
    assert _log_in(client, PASSWORD) == 429
    # Whoever guesses from elsewhere does not lock the customer out at home, nor another account here.
    assert _log_in(client, PASSWORD, REMOTE_ADDR="203.0.113.9") == 200
    assert _log_in(client, "wrong", email="ben@shop.test") == 401


def test_an_address_may_try_only_so_many_accounts(client, change_settings):
    change_settings(RATE_LIMIT_LOGIN="3/minute")

    statuses = [_log_in(client, "wrong", email=f"user{number}@shop.test") for number in range(4)]

    assert statuses == [401, 401, 401, 429]


def test_an_address_signs_up_only_so_often(client, change_settings):
    change_settings(RATE_LIMIT_SIGNUP="1/minute")
    bodies = [{"name": "Ann", "email": f"ann{number}@shop.test", "password": PASSWORD} for number in range(2)]

    assert [client.post("/api/auth/signup", json=body).status_code for body in bodies] == [201, 429]


def test_ranges_that_the_settings_exempt_are_never_limited(client, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="1/minute", RATE_LIMIT_EXEMPT="127.0.0.0/8, 2001:db8::/32")

    assert _many(3, lambda: client.get("/api/products").status_code) == [200] * 3


def test_health_is_never_limited(client, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="1/minute")

    assert _many(3, lambda: client.get("/healthz").status_code) == [200] * 3


def test_buying_has_its_own_limit_in_place_of_the_default_one(client, change_settings, make_user, auth):
    change_settings(RATE_LIMIT_DEFAULT="1/minute", RATE_LIMIT_PURCHASE="2/minute")
    header = auth(make_user())

    def buy(quantity):
        body = {"quantity": quantity}
        return client.post("/api/flash-sales/1/purchases", json=body, headers=header).status_code

    # A body that is refused costs the gate nothing and is not counted.
    assert _many(3, lambda: buy("many")) == [400, 400, 400]
    assert _many(3, lambda: buy(1)) == [404, 404, 429]


def test_counters_live_under_one_prefix_and_do_not_live_for_ever(client):
    client.get("/api/products")

    keys = redis_client().keys("limits*")
    assert keys
    assert all(0 < redis_client().ttl(key) <= 180 for key in keys)


class TestClientAddress:
    """10.0.0.0/8 and fd00::/8 are our proxies."""

    @pytest.fixture(autouse=True)
    def _proxies(self, change_settings):
        change_settings(TRUSTED_PROXIES="10.0.0.0/8, fd00::/8")

    @pytest.mark.parametrize(
        ("peer", "forwarded", "address"),
        [
            ("203.0.113.1", None, "203.0.113.1"),
            ("203.0.113.1", "198.51.100.7", "203.0.113.1"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("fd00::1", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "2001:DB8:0:0::7", "2001:db8::7"),
            ("", "198.51.100.7", "unknown"),
        ],
    )
    def test_it_is_the_first_from_the_right_that_no_proxy_of_ours_has(self, peer, forwarded, address):
        headers = {"X-Forwarded-For": forwarded} if forwarded is not None else {}

        with Flask(__name__).test_request_context(headers=headers, environ_base={"REMOTE_ADDR": peer}):
            assert client_address() == address


def test_a_limited_view_keeps_its_mark_of_who_may_call_it():
    def view() -> None: ...

    view.access = "user"

    assert limit_logins(view).access == "user"
