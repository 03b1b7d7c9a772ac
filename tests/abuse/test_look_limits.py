"""The limits of looks at purchases: those of every other route, counted by the look itself, however it is answered."""

import pytest

from models import rediskeys
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from tests.abuse.conftest import OFFICE

# At the doorstep, and by Flask.
WAYS = ({}, {"X-Request-Id": "a-name-of-its-own"})


@pytest.fixture
def look(client, auth, make_sale):
    """look(user, form, address, **headers) -> the answer about their purchase, in one of the route's two forms"""
    sale, tickets = make_sale(), {}

    def ask(user, form="/api/purchases/{}-{}", address=OFFICE, **headers):
        if user.id not in tickets:
            tickets[user.id] = admit(sale.id, user.id, Kind.PURCHASE, 1).ticket
        path = form.format(sale.id, tickets[user.id])
        return client.get(path, headers=auth(user) | headers, environ_overrides={"REMOTE_ADDR": address})

    return ask


@pytest.mark.parametrize("last", WAYS, ids=["doorstep", "flask"])
def test_both_forms_and_both_ways_have_one_count(look, make_user, change_settings, last):
    change_settings(RATE_LIMIT_DEFAULT="4/minute")
    ann = make_user()
    forms = ("/api/purchases/{}-{}", "/api/flash-sales/{}/purchases/{}")

    statuses = [look(ann, form, **headers).status_code for form in forms for headers in WAYS]
    refused = look(ann, **last)

    assert statuses == [200] * 4
    assert (refused.status_code, refused.json["code"]) == (429, "RATE_LIMITED")
    assert look(make_user()).status_code == 200


@pytest.fixture
def visit(client, auth):
    """visit(user, **headers) -> the answer of a route whose limits the library counts"""
    return lambda user, **headers: client.get("/api/users/me", headers=auth(user) | headers)


@pytest.mark.parametrize("way", WAYS, ids=["doorstep", "flask"])
def test_what_is_told_is_what_the_library_tells_of_another_route(look, visit, make_user, change_settings, way):
    change_settings(RATE_LIMIT_DEFAULT="1/minute")
    ann = make_user()

    ours = [look(ann, **way) for _ in range(2)]
    theirs = [visit(ann, **way) for _ in range(2)]

    assert [answer.status_code for answer in ours] == [answer.status_code for answer in theirs] == [200, 429]
    for mine, other in zip(ours, theirs, strict=True):
        assert set(mine.headers.keys()) == set(other.headers.keys())
        for name in ("RateLimit-Limit", "RateLimit-Remaining", "X-RateLimit-Limit"):
            assert mine.headers.get(name) == other.headers.get(name)
    assert ours[0].headers["RateLimit-Policy"] == theirs[0].headers["RateLimit-Policy"]
    # On a refusal, the library leaves out those that it did not get to.
    assert ours[1].headers["RateLimit-Policy"].startswith(theirs[1].headers["RateLimit-Policy"])
    assert ours[1].json.keys() == theirs[1].json.keys()
    assert ours[1].headers["Retry-After"] == ours[1].headers["RateLimit-Reset"]
    assert 1 <= int(ours[1].headers["Retry-After"]) <= 60


@pytest.mark.parametrize("way", WAYS, ids=["doorstep", "flask"])
def test_an_address_has_a_limit_of_its_own_however_many_accounts_look_from_it(look, make_user, change_settings, way):
    change_settings(RATE_LIMIT_ADDRESS="3/minute")
    here, there = "2001:db8:0:1::7", "2001:db8:0:2::7"

    statuses = [look(make_user(), address=f"2001:db8:0:1::{number}", **way).status_code for number in range(3)]

    assert statuses == [200] * 3
    assert look(make_user(), address=here, **way).headers["RateLimit"].startswith('"3-in-60";r=0')
    assert look(make_user(), address=there, **way).status_code == 200


def test_the_library_counts_none_of_it(look, make_user):
    ann = make_user()
    for headers in WAYS:
        assert look(ann, **headers).status_code == 200

    assert redis_client().keys(f"{rediskeys.LIMITS_PREFIX}*") == []
    assert redis_client().get(rediskeys.looks_of_user(ann.id, 60)).endswith(":0:2")
    assert redis_client().get(rediskeys.looks_of_address(OFFICE, 60)).endswith(":0:2")
    assert all(0 < redis_client().pttl(key) <= 120_000 for key in redis_client().keys("*:looks:*"))


def test_ranges_that_the_settings_exempt_are_never_counted(look, make_user, change_settings):
    change_settings(RATE_LIMIT_DEFAULT="1/minute", RATE_LIMIT_ADDRESS="1/minute", RATE_LIMIT_EXEMPT=f"{OFFICE}/32")
    ann = make_user()

    answers = [look(ann, **headers) for headers in WAYS * 2]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert all("RateLimit-Policy" not in answer.headers for answer in answers)


def test_what_no_purchase_can_be_called_is_counted_and_whoever_shows_no_token_is_not(
    client, look, make_user, change_settings
):
    """The first costs a trip to Redis, the second nothing."""
    change_settings(RATE_LIMIT_DEFAULT="2/minute")
    ann = make_user()

    assert [look(ann, "/api/purchases/x{}-{}").status_code for _ in range(3)] == [404, 404, 429]
    answers = [client.get("/api/purchases/1-1", environ_overrides={"REMOTE_ADDR": OFFICE}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401] * 3
