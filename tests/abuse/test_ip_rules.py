"""Rules for addresses over HTTP: what admins can do with them, and what they do to everybody else."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from models.clock import now, to_iso
from models.database import transaction
from models.ip_rule import IpRule, prune_ip_rules
from tests.abuse.conftest import rules_in_the_database

DENIED = "203.0.113.9"


def in_an_hour():
    return to_iso(now() + timedelta(hours=1))


def test_a_denied_address_gets_no_further_than_the_door(client, admin, make_rule, make_sale, buy):
    make_rule("203.0.113.0/24")

    def ask(method, path, **options):
        return client.open(path, method=method, environ_overrides={"REMOTE_ADDR": DENIED}, **options)

    answer = ask("GET", "/api/products")
    assert (answer.status_code, answer.json["code"]) == (403, "ADDRESS_DENIED")
    assert "Retry-After" not in answer.headers
    for method, path in [
        ("POST", "/api/auth/login"),
        ("GET", "/api/users/me"),
        ("OPTIONS", "/api/products"),
        ("GET", "/api/nothing"),
        ("GET", "/api/openapi.json"),
        ("GET", "/api/docs/"),
        ("GET", "/ws"),
        ("GET", "/"),
    ]:
        assert ask(method, path, headers=admin).status_code == 403, path
    assert buy(make_sale(), address=DENIED).json["code"] == "ADDRESS_DENIED"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_machines_that_ask_whether_we_live_are_always_answered(client, make_rule, path):
    make_rule("203.0.113.0/24")

    assert client.get(path, environ_overrides={"REMOTE_ADDR": DENIED}).status_code != 403


def test_neighbours_of_a_denied_range_come_in(make_rule, asked_from):
    make_rule("203.0.113.0/25")

    assert asked_from("203.0.113.127") == 403
    assert asked_from("203.0.113.128") == 200
    assert asked_from("::ffff:203.0.113.1") == 403


def test_a_rule_is_shown_as_it_was_made(client, admin, make_rule):
    until = in_an_hour()
    made = make_rule("2001:DB8::/32", action="allow", reason=" our office ", expiresAt=until)

    assert made == {
        "id": made["id"],
        "network": "2001:db8::/32",
        "action": "allow",
        "reason": "our office",
        "expiresAt": until,
        "isActive": True,
        "createdBy": made["createdBy"],
        "createdAt": made["createdAt"],
    }
    assert client.get(f"/api/ip-rules/{made['id']}", headers=admin).json["data"] == made


def test_rules_are_listed_newest_first_in_pages(client, admin, make_rule):
    for number in range(5):
        make_rule(f"203.0.113.{number}", action="allow" if number == 2 else "deny")

    first = client.get("/api/ip-rules?limit=2", headers=admin).json
    last = client.get("/api/ip-rules?limit=2&page=3", headers=admin).json
    allowed = client.get("/api/ip-rules?action=allow", headers=admin).json

    assert [rule["network"] for rule in first["data"]] == ["203.0.113.4/32", "203.0.113.3/32"]
    assert first["meta"] == {"page": 1, "limit": 2, "total": 5}
    assert [rule["network"] for rule in last["data"]] == ["203.0.113.0/32"]
    assert [rule["network"] for rule in allowed["data"]] == ["203.0.113.2/32"]


def test_deleting_a_rule_lets_its_range_in_again(client, admin, make_rule, asked_from):
    rule = make_rule("203.0.113.0/24")
    assert asked_from(DENIED) == 403

    assert client.delete(f"/api/ip-rules/{rule['id']}", headers=admin).status_code == 200

    assert asked_from(DENIED) == 200
    again = client.delete(f"/api/ip-rules/{rule['id']}", headers=admin)
    assert (again.status_code, again.json["code"]) == (404, "IP_RULE_NOT_FOUND")


def test_only_what_is_named_changes(client, admin, make_rule):
    rule = make_rule("203.0.113.0/24", expiresAt=in_an_hour())
    url = f"/api/ip-rules/{rule['id']}"

    renamed = client.patch(url, headers=admin, json={"reason": "bots"}).json["data"]
    for_good = client.patch(url, headers=admin, json={"expiresAt": None}).json["data"]

    assert renamed == rule | {"reason": "bots"}
    assert for_good == rule | {"reason": "bots", "expiresAt": None}


def test_an_expired_rule_does_nothing_and_can_be_brought_back(client, admin, make_rule, asked_from, monkeypatch):
    rule = make_rule("203.0.113.0/24", expiresAt=in_an_hour())
    later = now() + timedelta(hours=1, seconds=1)

    monkeypatch.setattr("web.guard.now", lambda: later)
    assert asked_from(DENIED) == 200

    longer = {"expiresAt": to_iso(later + timedelta(hours=1))}
    assert client.patch(f"/api/ip-rules/{rule['id']}", headers=admin, json=longer).status_code == 200
    assert asked_from(DENIED) == 403


def test_an_expired_rule_makes_room_for_a_new_one(client, admin, make_rule):
    old = make_rule("203.0.113.0/24")
    with transaction() as session:
        session.execute(
            text("UPDATE ip_rules SET created_at = now() - interval '2 days', expires_at = now() - interval '1 day'")
        )
    shown = client.get(f"/api/ip-rules/{old['id']}", headers=admin).json["data"]
    assert shown["isActive"] is False

    new = make_rule("203.0.113.0/24", reason="they are back")

    assert [rule.id for rule in rules_in_the_database()] == [int(new["id"])]


def test_rules_that_ran_out_long_ago_are_forgotten(make_rule):
    for number in range(3):
        make_rule(f"203.0.113.{number}")
    with transaction() as session:
        session.execute(text("UPDATE ip_rules SET created_at = now() - interval '90 days'"))
        session.execute(text("UPDATE ip_rules SET expires_at = now() - interval '31 days' WHERE id = 1"))
        session.execute(text("UPDATE ip_rules SET expires_at = now() - interval '29 days' WHERE id = 2"))

    assert prune_ip_rules() == 1
    assert [rule.id for rule in rules_in_the_database()] == [2, 3]


class TestLockingOneselfOut:
    """The admin of these tests sits at 127.0.0.1."""

    @pytest.fixture
    def refused(self, client, admin):
        def ask(method, path="", **options):
            before = rules_in_the_database()
            answer = client.open(f"/api/ip-rules{path}", method=method, headers=admin, **options)
            assert (answer.status_code, answer.json["code"]) == (409, "WOULD_LOCK_YOU_OUT")
            assert rules_in_the_database() == before

        return ask

    @pytest.mark.parametrize("network", ["127.0.0.1", "127.0.0.0/8", "0.0.0.0/0", "::ffff:127.0.0.1"])
    def test_a_rule_that_would_deny_its_own_maker_is_refused(self, refused, network):
        refused("POST", json={"network": network, "action": "deny", "reason": "all of them"})

    def test_behind_a_proxy_it_is_the_admins_address_that_counts(self, client, admin, change_settings):
        change_settings(TRUSTED_PROXIES="127.0.0.0/8")
        headers = admin | {"X-Forwarded-For": "198.51.100.20"}
        body = {"network": "198.51.100.0/24", "action": "deny", "reason": "a test"}

        answer = client.post("/api/ip-rules", headers=headers, json=body)

        assert answer.json["code"] == "WOULD_LOCK_YOU_OUT"
        # Its proxy's own address is nobody's.
        body["network"] = "127.0.0.0/8"
        assert client.post("/api/ip-rules", headers=headers, json=body).status_code == 201

    def test_everybody_else_can_be_denied_by_whoever_is_allowed(self, make_rule, asked_from):
        make_rule("127.0.0.0/8", action="allow")
        make_rule("0.0.0.0/0")

        assert asked_from("127.0.0.1") == 200
        assert asked_from(DENIED) == 403

    def test_the_rule_that_lets_one_in_cannot_be_taken_away(self, refused, make_rule):
        allowing = make_rule("127.0.0.0/8", action="allow")
        make_rule("0.0.0.0/0")

        refused("DELETE", f"/{allowing['id']}")

    def test_a_rule_that_ran_out_is_not_brought_back_over_ones_own_head(self, refused, make_rule):
        with transaction() as session:
            session.add(
                IpRule(
                    network="127.0.0.0/8",
                    action="deny",
                    reason="old",
                    created_by=1,
                    created_at=now() - timedelta(days=2),
                    expires_at=now() - timedelta(days=1),
                )
            )

        refused("PATCH", "/1", json={"expiresAt": None})


def test_of_two_admins_who_make_the_same_rule_at_once_one_is_told_that_it_exists(app, admin):
    barrier = Barrier(8)
    body = {"network": "203.0.113.0/24", "action": "deny", "reason": "bots"}

    def make(_):
        barrier.wait(60)
        answer = app.test_client().post("/api/ip-rules", headers=admin, json=body)
        return answer.status_code, answer.json.get("code")

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(make, range(8)))

    assert answers == [(201, None)] + [(409, "IP_RULE_EXISTS")] * 7
    assert len(rules_in_the_database()) == 1


def test_the_same_range_can_be_allowed_and_denied(make_rule, asked_from):
    make_rule("203.0.113.0/24")
    make_rule("203.0.113.0/24", action="allow")

    assert asked_from(DENIED) == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", ""), ("GET", "/1"), ("PATCH", "/1"), ("DELETE", "/1")]
)
def test_rules_are_for_admins(client, make_user, auth, method, path):
    customer = auth(make_user())

    assert client.open(f"/api/ip-rules{path}", method=method).status_code == 401
    assert client.open(f"/api/ip-rules{path}", method=method, headers=customer).status_code == 403
