"""Rules for addresses that are no rules: each mistake is named, and nothing is written."""

import pytest

from tests.abuse.conftest import rules_in_the_database

SOUND = {"network": "203.0.113.0/24", "action": "deny", "reason": "bots"}
MISTAKES = [
    ({"network": "203.0.113.7/24"}, "network"),
    ({"network": "2001:db8::1/32"}, "network"),
    ({"network": "203.0.113.0/33"}, "network"),
    ({"network": "2001:db8::/129"}, "network"),
    ({"network": "203.0.113.0/-1"}, "network"),
    ({"network": "203.0.113.0/"}, "network"),
    ({"network": "203.0.113.0/255.255.255.0"}, "network"),
    ({"network": "203.0.113.0/0.0.0.255"}, "network"),
    ({"network": "203.0.113"}, "network"),
    ({"network": "203.0.113.256"}, "network"),
    ({"network": "203.0.113.0/24 "}, "network"),
    ({"network": "fe80::1%eth0"}, "network"),
    ({"network": "٢٠٣.0.113.0/24"}, "network"),
    ({"network": "example.com"}, "network"),
    ({"network": ""}, "network"),
    ({"network": None}, "network"),
    ({"network": 3405803776}, "network"),
    ({"network": ["203.0.113.0/24"]}, "network"),
    ({"network": "1" * 5_000}, "network"),
    ({"action": "block"}, "action"),
    ({"action": "DENY"}, "action"),
    ({"action": None}, "action"),
    ({"action": ["deny"]}, "action"),
    ({"reason": ""}, "reason"),
    ({"reason": "   "}, "reason"),
    ({"reason": "two\nlines"}, "reason"),
    ({"reason": "a\x00b"}, "reason"),
    ({"reason": "x" * 501}, "reason"),
    ({"reason": None}, "reason"),
    ({"reason": 7}, "reason"),
    ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
    ({"expiresAt": "2126-11-27T18:00:00"}, "expiresAt"),
    ({"expiresAt": "tomorrow"}, "expiresAt"),
    ({"expiresAt": 1764266400}, "expiresAt"),
    ({"expiresAt": "9999-12-31T23:59:59-23:59"}, "expiresAt"),
    ({"createdBy": "1"}, "createdBy"),
    ({"id": "1"}, "id"),
]


@pytest.mark.parametrize(("mistake", "field"), MISTAKES)
def test_a_wrong_field_is_named_and_nothing_is_written(client, admin, mistake, field):
    answer = client.post("/api/ip-rules", headers=admin, json=SOUND | mistake)

    assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_ERROR")
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert rules_in_the_database() == []


@pytest.mark.parametrize("missing", SOUND)
def test_every_missing_field_is_named(client, admin, missing):
    answer = client.post("/api/ip-rules", headers=admin, json={name: SOUND[name] for name in SOUND if name != missing})

    assert [error["field"] for error in answer.json["errors"]] == [missing]


@pytest.mark.parametrize(
    ("mistake", "field"),
    [
        *[(mistake, field) for mistake, field in MISTAKES if field in {"reason", "expiresAt", "id"}],
        ({"network": "203.0.113.0/25"}, "network"),
        ({"action": "allow"}, "action"),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(client, admin, make_rule, mistake, field):
    rule = make_rule("203.0.113.0/24")
    before = rules_in_the_database()

    answer = client.patch(f"/api/ip-rules/{rule['id']}", headers=admin, json=mistake)

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert rules_in_the_database() == before


@pytest.mark.parametrize(
    ("query", "field"),
    [("page=0", "page"), ("limit=101", "limit"), ("action=block", "action"), ("order=asc", "order")],
)
def test_a_wrong_question_is_refused(client, admin, query, field):
    answer = client.get(f"/api/ip-rules?{query}", headers=admin)

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json["errors"]] == [field]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("rule_id", ["1", "999999999999999999", "nothing"])
def test_a_rule_that_is_not_there_is_not_found(client, admin, method, rule_id):
    body = {"json": {"reason": "x"}} if method == "PATCH" else {}

    answer = client.open(f"/api/ip-rules/{rule_id}", method=method, headers=admin, **body)

    assert (answer.status_code, answer.json["code"]) == (404, "IP_RULE_NOT_FOUND")
