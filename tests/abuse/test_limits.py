"""Rate limits by user, by address and by route, and what a client is told of them."""

import pytest

OFFICE = "198.51.100.7"


@pytest.fixture
def visit(client, auth, make_user):
    """visit(path, address, user) -> the answer; a new user unless told, None for nobody"""

    def ask(path="/api/products", address=OFFICE, user="new"):
        headers = {} if user is None else auth(make_user() if user == "new" else user)
        return client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": address})

    return ask


def test_an_address_has_a_limit_of_its_own_however_many_accounts_it_has_and_routes_it_visits(visit, change_settings):
    change_settings(RATE_LIMIT_ADDRESS="3/minute")

    statuses = [visit(path).status_code for path in ("/api/products", "/api/users/me", "/api/categories")]
    refused = visit("/api/products")

    assert 429 not in statuses
    assert (refused.status_code, refused.json["code"]) == (429, "RATE_LIMITED")
    assert visit(address="198.51.100.8").status_code == 200


def test_each_route_has_a_count_of_its_own_for_a_user(visit, make_user, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="2/minute")
    ann = make_user()

    assert [visit(user=ann).status_code for _ in range(3)] == [200, 200, 429]
    assert visit("/api/categories", user=ann).status_code == 200
    assert visit(user="new").status_code == 200


def test_a_refusal_says_how_much_is_allowed_and_when_to_come_back(visit, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="1/minute")
    answers = [visit(user=None) for _ in range(2)]

    headers = answers[1].headers
    assert headers["Retry-After"] == headers["RateLimit-Reset"]
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("1", "0")
    assert '"1-in-60";q=1;w=60' in headers["RateLimit-Policy"]
    assert '"1-in-60";q=1;w=60' in answers[0].headers["RateLimit-Policy"]


def test_ipv4_that_comes_as_ipv6_is_the_same_customer(visit, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="1/minute")

    assert visit(user=None).status_code == 200
    assert visit(user=None, address=f"::ffff:{OFFICE}").status_code == 429


def test_a_proxy_of_ours_is_known_whichever_way_its_address_is_written(client, change_settings):
    change_settings(TRUSTED_PROXIES="10.0.0.0/8", RATE_LIMIT_DEFAULT="1/minute")

    def through_the_proxy(customer):
        headers = {"X-Forwarded-For": customer}
        answer = client.get("/api/products", headers=headers, environ_overrides={"REMOTE_ADDR": "::ffff:10.0.0.1"})
        return answer.status_code

    assert [through_the_proxy("203.0.113.1"), through_the_proxy("203.0.113.2")] == [200, 200]
    assert through_the_proxy("203.0.113.1") == 429


def test_buying_costs_the_limits_one_count_only(buy, make_sale, change_settings):
    """The hot route: its own limit takes the place of the others, the address's too."""
    change_settings(RATE_LIMIT_ADDRESS="1/minute", RATE_LIMIT_DEFAULT="1/minute")
    sale = make_sale()

    assert [buy(sale).status_code for _ in range(3)] == [202] * 3
    assert buy(sale).headers["RateLimit-Policy"].count(";q=") == 1


def test_whoever_is_denied_is_not_counted(make_rule, asked_from, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="2/minute")
    make_rule("203.0.113.0/24")

    assert [asked_from("203.0.113.9") for _ in range(4)] == [403] * 4
