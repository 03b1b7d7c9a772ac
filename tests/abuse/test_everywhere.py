"""Rules take effect by themselves in processes that were started for real, on threads and on greenlets."""

import time

import pytest

from models.database import engine
from tests.abuse.conftest import eventually
from web.standing import FIRST_COPY_SECONDS, RENEW_EVERY_SECONDS, StandingCopy

DENIED = "203.0.113.9"
# What a busy machine may take for what takes no time.
A_WHILE_SECONDS = 20
PROXIES = {"TRUSTED_PROXIES": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def behind_a_proxy(serve):
    """Both kinds of server, behind a proxy at 127.0.0.1."""
    return [serve("web", **PROXIES), serve("live", **PROXIES)]


def from_(address):
    return "X-Forwarded-For", address


def test_a_rule_is_soon_in_force_everywhere_and_so_is_its_end(client, admin, make_rule, behind_a_proxy):
    for server in behind_a_proxy:
        # The stores were emptied between two tests: what was in force before is forgotten as quickly.
        eventually(lambda server=server: server.status("/api/products", from_(DENIED)) == 200, "no rule is in force")

    # Within a second, on a machine that has time for it.
    assert RENEW_EVERY_SECONDS < 1
    rule = make_rule("203.0.113.0/24")
    for server in behind_a_proxy:
        eventually(lambda server=server: server.status("/api/products", from_(DENIED)) == 403, "it is denied")
    assert [server.status("/api/products", from_("203.0.114.1")) for server in behind_a_proxy] == [200, 200]
    assert [server.status("/ws", from_(DENIED)) for server in behind_a_proxy] == [403, 403]
    assert [server.status("/healthz", from_(DENIED)) for server in behind_a_proxy] == [200, 200]

    client.delete(f"/api/ip-rules/{rule['id']}", headers=admin)
    for server in behind_a_proxy:
        eventually(lambda server=server: server.status("/api/products", from_(DENIED)) == 200, "it is let in")


def test_what_a_client_claims_to_be_forwarded_for_does_not_hide_it(make_rule, behind_a_proxy):
    make_rule("203.0.113.0/24")
    for server in behind_a_proxy:
        eventually(lambda server=server: server.status("/api/products", from_(DENIED)) == 403, "it is denied")

        # The proxy adds what it saw to the right, on the same line or on one of its own.
        assert server.status("/api/products", from_(f"198.51.100.1, {DENIED}")) == 403
        assert server.status("/api/products", from_("198.51.100.1"), from_(DENIED)) == 403
        assert server.status("/api/products", from_(f"{DENIED}, 198.51.100.1")) == 200


def test_without_a_trusted_proxy_nobody_can_speak_for_another_address(make_rule, serve):
    make_rule("203.0.113.0/24")
    server = serve("web")

    assert server.status("/api/products", from_(DENIED)) == 200


def test_a_new_process_knows_the_rules_from_its_first_request_on(make_rule, serve):
    make_rule("203.0.113.0/24")

    assert serve("web", **PROXIES).status("/api/products", from_(DENIED)) == 403


def test_while_postgresql_is_away_the_last_known_rules_stay_in_force(make_rule, asked_from, store):
    make_rule("203.0.113.0/24")
    copy = StandingCopy()
    assert copy.renew()
    before = copy.current()

    store.postgres.kill()
    try:
        assert copy.renew() is False
        assert copy.current() is before
        assert asked_from(DENIED) == 403
    finally:
        store.postgres.start()
        engine().dispose()

    eventually(copy.renew, "the copy is renewed again")
    make_rule("198.51.100.0/24")
    eventually(lambda: copy.current() is not before, "the copy's own thread goes on")


def test_a_process_that_never_heard_from_postgresql_lets_people_in_after_a_moment(store):
    store.postgres.kill()
    try:
        began_at = time.monotonic()
        copy = StandingCopy()
        assert copy.current().version is None
        assert time.monotonic() - began_at < FIRST_COPY_SECONDS + A_WHILE_SECONDS
        # It does not wait for a first copy a second time.
        asked_at = time.monotonic()
        copy.current()
        assert time.monotonic() - asked_at < FIRST_COPY_SECONDS
    finally:
        store.postgres.start()
        engine().dispose()


def test_a_copy_is_read_anew_only_when_something_changed(make_rule, store):
    make_rule("203.0.113.0/24")
    copy = StandingCopy()
    copy.renew()
    before = copy.current()

    copy.renew()
    assert copy.current() is before

    make_rule("198.51.100.0/24")
    copy.renew()
    assert copy.current() is not before
