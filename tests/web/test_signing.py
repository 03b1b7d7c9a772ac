"""Keys that change, the short way of reading a token, and tokens of an earlier generation."""

import string
from datetime import timedelta

import jwt
import pytest
import time_machine
from flask_jwt_extended import decode_token
from hypothesis import HealthCheck, given
from hypothesis import settings as tries
from hypothesis import strategies as st

from models import tokens
from models.clock import now
from models.revocations import tell_generation
from models.settings import settings
from models.signing import is_sealed, key_id, seal

OLD_KEY = "the key of last year that has forty chars"
NEW_KEY = "the key of this year that has forty chars"


def _me(client, token):
    answer = client.get("/api/users/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json.get("code")


def _library_takes(app, token, kind):
    """What flask-jwt-extended alone says to a token; whether it is of this kind."""
    with app.app_context():
        try:
            return decode_token(token)["type"] == kind
        except Exception:  # noqa: BLE001 - whatever it says, it is a no
            return False


def test_a_key_is_changed_without_logging_anybody_out(change_settings, client, customer):
    change_settings(JWT_SECRET_KEY=OLD_KEY)
    before = tokens.issue_access_token(customer.id, customer.role)
    change_settings(JWT_SECRET_KEY=NEW_KEY, JWT_PREVIOUS_KEYS=OLD_KEY)
    after = tokens.issue_access_token(customer.id, customer.role)

    assert _me(client, before) == (200, None)
    assert _me(client, after) == (200, None)
    assert jwt.get_unverified_header(after)["kid"] == key_id(NEW_KEY) != key_id(OLD_KEY)


def test_a_key_that_was_dropped_opens_nothing(change_settings, client, customer):
    change_settings(JWT_SECRET_KEY=OLD_KEY)
    before = tokens.issue_access_token(customer.id, customer.role)
    change_settings(JWT_SECRET_KEY=NEW_KEY)

    assert _me(client, before) == (401, "TOKEN_INVALID")


def test_a_token_cannot_choose_the_key_that_it_is_checked_with(change_settings, client, customer):
    change_settings(JWT_SECRET_KEY=NEW_KEY, JWT_PREVIOUS_KEYS=OLD_KEY)
    sound = tokens.issue_access_token(customer.id, customer.role)
    claims = jwt.decode(sound, NEW_KEY, algorithms=["HS256"], audience=tokens.AUDIENCE)
    for headers in ({"kid": key_id(OLD_KEY)}, {"kid": "unknown"}, {"kid": ""}, {}):
        forged = jwt.encode(claims, "a key that we never had, of forty letters", "HS256", headers=headers)
        assert _me(client, forged) == (401, "TOKEN_INVALID")


def test_a_seal_outlives_a_change_of_the_key_and_is_good_for_one_message(change_settings):
    change_settings(JWT_SECRET_KEY=OLD_KEY)
    made = seal("csrf:1:a")
    change_settings(JWT_SECRET_KEY=NEW_KEY, JWT_PREVIOUS_KEYS=OLD_KEY)
    assert is_sealed("csrf:1:a", made)
    assert not is_sealed("csrf:2:a", made)
    change_settings(JWT_SECRET_KEY=NEW_KEY, JWT_PREVIOUS_KEYS="")
    assert not is_sealed("csrf:1:a", made)


def test_the_short_way_reads_what_we_sign(app):
    token = tokens.issue_access_token(7, "customer", generation=3)

    claims = tokens.read_quickly(token, tokens.ACCESS)

    assert claims is not None
    assert (claims.user_id, claims.role, claims.generation) == (7, "customer", 3)
    with app.app_context():
        assert claims == tokens.claims_of(decode_token(token))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "somebody"},
        {"aud": "somebody"},
        {"aud": ["doorbuster", "somebody"]},
        {"type": "refresh"},
        {"exp": 1},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"crit": ["x"]},
        {"gen": None},
        {"sub": None},
    ],
    ids=str,
)
def test_the_short_way_says_no_more_than_the_library(app, client, changed):
    """Signed with our own key and header, and still not what we would have written."""
    token = tokens.issue_access_token(7, "customer")
    claims = jwt.decode(token, options={"verify_signature": False}) | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    key = settings().jwt_secret_key
    odd = jwt.encode(claims, key, "HS256", headers={"kid": key_id(key)})

    assert _read_quickly(odd) is None


def test_a_token_is_over_for_the_short_way_when_it_is_for_the_library(app):
    """Both in the last second of the leeway and right after it."""
    with time_machine.travel(now(), tick=False) as clock:
        token = tokens.issue_access_token(7, "customer", timedelta(seconds=1))
        for _ in range(9):
            assert (_read_quickly(token) is not None) == _library_takes(app, token, tokens.ACCESS)
            clock.shift(timedelta(seconds=1))
        assert _read_quickly(token) is None


def test_a_token_from_a_machine_whose_clock_is_minutes_ahead_is_good_at_once(app, client, customer):
    with time_machine.travel(now() + timedelta(minutes=7), tick=False):
        token = tokens.issue_access_token(customer.id, "customer")

    assert _me(client, token)[0] == 200


def _read_quickly(token, kind=tokens.ACCESS):
    try:
        return tokens.read_quickly(token, kind)
    except (LookupError, ValueError, TypeError):
        return None


@tries(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_done_to_a_token_the_short_way_takes_none_that_the_library_refuses(app, data):
    token = data.draw(
        st.sampled_from([tokens.issue_access_token(7, "customer"), tokens.issue_refresh_token(7, "admin")])
    )
    at = data.draw(st.integers(0, len(token)))
    put = data.draw(st.text(string.ascii_letters + string.digits + "-_.=+/ \n\x00é", max_size=4))
    cut = data.draw(st.integers(0, 4))
    changed = token[:at] + put + token[at + cut :]
    kind = data.draw(st.sampled_from([tokens.ACCESS, tokens.REFRESH]))

    if _read_quickly(changed, kind) is not None:
        assert _library_takes(app, changed, kind)


def test_tokens_of_an_earlier_generation_are_refused_at_once(client, customer):
    old = tokens.issue_access_token(customer.id, customer.role, generation=0)
    assert _me(client, old) == (200, None)

    tell_generation(customer.id, 1)

    assert _me(client, old) == (401, "TOKEN_REVOKED")
    assert _me(client, tokens.issue_access_token(customer.id, customer.role, generation=1)) == (200, None)


def test_generations_that_are_told_in_the_wrong_order_leave_the_higher_one(client, customer):
    tell_generation(customer.id, 2)
    tell_generation(customer.id, 1)

    assert _me(client, tokens.issue_access_token(customer.id, customer.role, generation=1)) == (401, "TOKEN_REVOKED")
