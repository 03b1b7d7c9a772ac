"""Whoever asks about a sale whose history was archived: what they are told, over HTTP and on the command line."""

import re

import pytest

from models import rediskeys
from models.history import archive, restore
from models.redisclient import redis_client
from models.sale_ranges import RANGE_SALES
from tests.history.conftest import make_old, run_sql
from tests.web.conftest import (  # noqa: F401 - fixtures
    admin,
    app,
    auth,
    client,
    customer,
    password_hash,
    token_for,
)

FIRST = 20_000
BEFORE = {"rejected": 1, "confirmed": 2, "cancelled": 1, "refunded": 1}
GONE = [
    ("GET", "/api/flash-sales/{sale}/leaderboard"),
    ("GET", "/api/flash-sales/{sale}/leaderboard?limit=100"),
    ("GET", "/api/purchases/{sale}-2"),
    ("GET", "/api/flash-sales/{sale}/purchases/2"),
    ("POST", "/api/purchases/{sale}-2/refund"),
    ("PATCH", "/api/flash-sales/{sale}"),
    ("GET", "/admin/sales/{sale}/report"),
]
BODIES = {"POST": {"reason": "broken"}, "PATCH": {"totalStock": 50}}


@pytest.fixture
def sale(make_month, tmp_path):
    """A sale whose history was archived."""
    sale, _ = make_month(FIRST)
    archive(FIRST, tmp_path)
    redis_client().delete(rediskeys.leaderboard(sale.id))
    return sale


@pytest.mark.parametrize(("method", "path"), GONE)
def test_it_says_that_it_was_archived_and_what_it_came_to(sale, client, admin, method, path):  # noqa: F811
    answer = client.open(path.format(sale=sale.id), method=method, json=BODIES.get(method), headers=admin)

    assert (answer.status_code, answer.json["code"]) == (410, "HISTORY_ARCHIVED"), answer.json
    assert answer.json["data"]["ticketsByStatus"] == BEFORE
    assert answer.json["data"]["archivedAt"].endswith("Z")


def test_its_book_is_held_against_what_was_counted(sale, client, admin):  # noqa: F811
    url = f"/api/flash-sales/{sale.id}/audit"
    data = client.get(url, headers=admin).json["data"]
    assert (data["agrees"], data["ticketsByStatus"]) == (True, BEFORE)
    assert data["historyArchivedAt"] is not None

    run_sql("UPDATE flash_sales SET sold = sold + 1 WHERE id = :id", id=sale.id)

    data = client.get(url, headers=admin).json["data"]
    assert [check["name"] for check in data["checks"] if not check["agrees"]] == ["sold", "buyerTotals"]


def test_the_sale_itself_its_page_and_who_bought_most_stay(sale, client, admin, customer, auth):  # noqa: F811
    assert client.get(f"/api/flash-sales/{sale.id}").json["data"]["soldCount"] == 2
    assert client.get(f"/sales/{sale.id}", headers={"Accept": "text/html"}).status_code == 200
    totals = client.get(f"/api/flash-sales/{sale.id}/leaderboard/totals", headers=auth(customer)).json["data"]
    assert [row["totalUnits"] for row in totals] == [1, 1]
    assert client.get(f"/admin/sales/{sale.id}", headers=admin | {"Accept": "text/html"}).status_code == 200
    assert client.get(f"/admin/sales/{sale.id}/report", headers=admin | {"Accept": "text/html"}).status_code == 410


def test_a_buyers_list_goes_on_without_it(make_month, make_user, client, auth, tmp_path):  # noqa: F811
    sales = make_month(FIRST)
    user = make_user()
    others = make_month(FIRST + RANGE_SALES)
    run_sql("UPDATE purchases SET user_id = CASE WHEN ticket = 2 THEN :user ELSE -1 END", user=user.id)

    def mine() -> list[str]:
        found = client.get("/api/users/me/purchases", headers=auth(user)).json["data"]
        return sorted(each["purchaseId"] for each in found)

    archive(FIRST, tmp_path)
    assert mine() == sorted(f"{sale.id}-2" for sale in others)
    restore(FIRST, tmp_path)
    assert mine() == sorted(f"{sale.id}-2" for sale in (*sales, *others))


def test_an_operator_lists_archives_and_restores(make_month, app, tmp_path):  # noqa: F811
    make_month(FIRST)
    run = app.test_cli_runner().invoke
    where = ["--out", str(tmp_path)]

    def state() -> str:
        listed = run(args=["history", "list"])
        assert listed.exit_code == 0, listed.output
        [line] = (line for line in listed.output.splitlines() if line.startswith(str(FIRST)))
        return re.split(r" {2,}", line)[-1]

    assert state() == "here"
    make_old(FIRST)
    run_sql("UPDATE flash_sales SET updated_at = now() WHERE id = :id", id=FIRST)
    refused = run(args=["history", "archive", str(FIRST), *where])
    assert (refused.exit_code, "HISTORY_IN_USE" in refused.output) == (1, True)
    make_old(FIRST)
    kept = run(args=["history", "archive", str(FIRST), *where, "--keep"])
    assert (kept.exit_code, state()) == (0, "archived, tables still here"), kept.output
    dropped = run(args=["history", "archive", str(FIRST), *where])
    assert (dropped.exit_code, state()) == (0, "archived"), dropped.output
    lost = run(args=["history", "restore", str(FIRST)])
    assert (lost.exit_code, "ARCHIVE_SPOILT" in lost.output) == (1, True)
    back = run(args=["history", "restore", str(FIRST), "--from", str(tmp_path)])
    assert (back.exit_code, state()) == (0, "here"), back.output
    assert run(args=["history", "restore", str(FIRST)]).exit_code == 1
    assert run(args=["history", "archive", "12345", *where]).exit_code == 1
