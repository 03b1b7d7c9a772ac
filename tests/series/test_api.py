"""Series over HTTP: what an admin sends and sees, and what is refused."""

import json

import pytest
from sqlalchemy import func, select

from models.database import transaction
from models.series_plan import plan_series
from models.series_resets import reset_months
from models.tables import metadata
from tests.series.helpers import NOON, utc

SERIES = {
    "title": "Every Friday",
    "rule": "FREQ=WEEKLY;BYDAY=FR",
    "startsLocal": "2069-12-06T18:00:00",
    "zone": "Europe/Berlin",
    "flashPrice": 49.99,
}


@pytest.fixture
def body(make_product):
    return SERIES | {"productId": str(make_product().id)}


@pytest.fixture
def made(client, admin, body):
    """A series as the API answers it."""
    return client.post("/api/series", headers=admin, json=body).json["data"]


@pytest.fixture
def ask(client, admin):
    """ask("POST", path, …) as an admin, unless other headers are given."""
    return lambda method, path, **sent: client.open(path, method=method, **({"headers": admin} | sent))


def everything():
    with transaction() as session:
        return {
            name: session.execute(select(func.count()).select_from(table)).scalar()
            for name, table in metadata.tables.items()
        } | {"series": [tuple(row) for row in session.execute(select(metadata.tables["series"]))]}


def test_an_admin_makes_a_series_and_everybody_sees_its_next_runs(client, admin, body):
    answer = client.post("/api/series", headers=admin, json=body)

    assert answer.status_code == 201
    series = answer.json["data"]
    assert answer.headers["Location"] == f"/api/series/{series['id']}"
    assert series["stockPerRun"] == 200
    assert series["status"] == "ACTIVE"
    assert series["nextRuns"][:2] == ["2069-12-06T17:00:00.000Z", "2069-12-13T17:00:00.000Z"]
    assert client.get(answer.headers["Location"]).json["data"]["nextRuns"] == series["nextRuns"]
    assert client.get("/api/series").json["meta"] == {"page": 1, "limit": 10, "total": 1}
    assert client.get("/api/series?productId=999999").json["data"] == []
    (sale,) = client.get("/api/flash-sales").json["data"]
    assert (sale["startTime"], sale["status"], sale["remainingStock"]) == ("2069-12-06T17:00:00.000Z", "UPCOMING", 200)


def test_a_series_is_changed_paused_resumed_and_ended(client, admin, made):
    path = f"/api/series/{made['id']}"

    changed = client.patch(path, headers=admin, json={"stockPerRun": 50, "flashPrice": None, "runsPerMonth": 3})
    assert changed.json["data"]["stockPerRun"] == 50
    assert changed.json["data"]["flashPrice"] is None
    assert changed.json["data"]["thisMonth"]["runsPerMonth"] == 3
    paused = client.post(f"{path}/pause", headers=admin).json["data"]
    assert (paused["status"], paused["nextRuns"]) == ("PAUSED", [])
    assert client.post(f"{path}/resume", headers=admin).json["data"]["status"] == "ACTIVE"
    ended = client.delete(path, headers=admin).json["data"]
    assert ended["status"] == "ENDED"
    assert ended["endedAt"]
    for late in (client.delete(path, headers=admin), client.patch(path, headers=admin, json={"title": "Late"})):
        assert (late.status_code, late.json["code"]) == (409, "SERIES_ENDED")


def test_operators_see_what_became_of_each_occurrence_and_of_each_month(client, admin, make_series, make_product):
    series_id = make_series(product_id=make_product(monthly_allotment=200).id, duration_seconds=3600)
    plan_series(NOON.replace(day=11))
    reset_months(utc(2027, 2, 1))

    runs = client.get(f"/api/series/{series_id}/runs", headers=admin).json
    resets = client.get(f"/api/series/{series_id}/resets?limit=1", headers=admin).json

    assert [(run["runAt"], run["outcome"], run["reason"]) for run in runs["data"]] == [
        ("2027-01-11T18:00:00.000Z", "skipped", "ALLOTMENT_EXHAUSTED"),
        ("2027-01-10T18:00:00.000Z", "made", None),
    ]
    assert runs["meta"] == {"page": 1, "limit": 10, "total": 2}
    assert resets["data"][0] == {
        "month": "2027-02-01",
        "at": "2027-02-01T00:00:00.000Z",
        "noticedAt": "2027-02-01T00:00:00.000Z",
        "runsBefore": 1,
        "drawnBefore": 200,
        "buyersBefore": 0,
        "unitsBefore": 0,
    }


def test_a_sale_is_restarted_over_http(client, admin, make_sale):
    old = make_sale(total_stock=5)

    answer = client.post(f"/api/flash-sales/{old.id}/restart", headers=admin)

    assert answer.status_code == 201
    new = answer.json["data"]
    assert new["id"] != str(old.id)
    assert (new["status"], new["remainingStock"]) == ("LIVE", 5)
    assert answer.headers["Location"] == f"/api/flash-sales/{new['id']}"
    again = client.post(f"/api/flash-sales/{old.id}/restart", headers=admin)
    assert (again.status_code, again.json["code"]) == (400, "ACTIVE_SALE_EXISTS")


def test_a_product_has_a_monthly_allotment(client, admin):
    made = client.post("/api/products", headers=admin, json={"name": "Shoe", "price": 10, "monthlyAllotment": 500})
    path = made.headers["Location"]

    assert made.json["data"]["monthlyAllotment"] == 500
    changed = client.patch(path, headers=admin, json={"monthlyAllotment": None})
    assert changed.json["data"]["monthlyAllotment"] is None
    for wrong in (-1, "5", 1.5, True):
        refused = client.patch(path, headers=admin, json={"monthlyAllotment": wrong})
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (400, "monthlyAllotment")


WRONG = [
    ({"rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=31"}, "rule"),
    ({"rule": "FREQ=DAILY;UNTIL=20200101"}, "rule"),
    ({"rule": "FREQ=DAILY;COUNT=3", "startsLocal": "2020-01-01T10:00:00"}, "rule"),
    ({"rule": "FREQ=SECONDLY"}, "rule"),
    ({"rule": "every Friday"}, "rule"),
    ({"rule": ""}, "rule"),
    ({"rule": "FREQ=DAILY" + ";" * 500}, "rule"),
    ({"rule": None}, "rule"),
    ({"rule": ["FREQ=DAILY"]}, "rule"),
    ({"startsLocal": "2027-02-30T10:00:00"}, "startsLocal"),
    ({"startsLocal": "2027-01-01T10:00:00Z"}, "startsLocal"),
    ({"startsLocal": "2027-01-01T10:00:00+01:00"}, "startsLocal"),
    ({"startsLocal": "2027-01-01"}, "startsLocal"),
    ({"startsLocal": "2027-01-01T10:00:00.5"}, "startsLocal"),
    ({"startsLocal": "1999-01-01T10:00:00"}, "startsLocal"),
    ({"startsLocal": "2071-01-01T10:00:00"}, "startsLocal"),
    ({"startsLocal": 1800000000}, "startsLocal"),
    ({"startsLocal": None}, "startsLocal"),
    ({"zone": "Mars/Base"}, "zone"),
    ({"zone": "../etc/passwd"}, "zone"),
    ({"zone": ""}, "zone"),
    ({"zone": "x" * 101}, "zone"),
    ({"zone": None}, "zone"),
    ({"title": ""}, "title"),
    ({"title": None}, "title"),
    ({"title": "two\nlines"}, "title"),
    ({"stockPerRun": 0}, "stockPerRun"),
    ({"stockPerRun": 10_000_001}, "stockPerRun"),
    ({"stockPerRun": "200"}, "stockPerRun"),
    ({"flashPrice": 99.99}, "flashPrice"),
    ({"flashPrice": 1000}, "flashPrice"),
    ({"flashPrice": 0}, "flashPrice"),
    ({"maxPerPurchase": 0}, "maxPerPurchase"),
    ({"maxPerUser": -1}, "maxPerUser"),
    ({"maxPerUserMonth": 0}, "maxPerUserMonth"),
    ({"holdSeconds": 86_401}, "holdSeconds"),
    ({"durationSeconds": 0}, "durationSeconds"),
    ({"durationSeconds": 366 * 86_400 + 1}, "durationSeconds"),
    ({"runsPerMonth": 0}, "runsPerMonth"),
    ({"runsPerMonth": 1.5}, "runsPerMonth"),
    ({"dtstart": "2027"}, "dtstart"),
]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(("mistake", "field"), WRONG)
def test_the_wrong_field_is_named_and_nothing_is_written(ask, made, method, mistake, field):
    path = "/api/series" if method == "POST" else f"/api/series/{made['id']}"
    sent = json.dumps((SERIES | {"productId": made["productId"]} if method == "POST" else {}) | mistake)
    before = everything()

    answer = ask(method, path, data=sent, content_type="application/json")

    assert answer.status_code == 400, answer.json
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert everything() == before


def test_a_product_that_does_not_exist_or_has_no_price_to_be_below_is_refused(client, admin, body, make_product):
    nowhere = client.post("/api/series", headers=admin, json=body | {"productId": "999999"})
    unpriced = client.post("/api/series", headers=admin, json=body | {"productId": make_product(price=None).id})
    exchanged = client.patch("/api/series/1", headers=admin, json={"productId": "1"})

    assert (nowhere.status_code, nowhere.json["code"]) == (404, "PRODUCT_NOT_FOUND")
    assert (unpriced.status_code, unpriced.json["errors"][0]["field"]) == (400, "flashPrice")
    assert (exchanged.status_code, exchanged.json["errors"][0]["field"]) == (400, "productId")


ROUTES = [
    ("POST", "/api/series", "PRODUCT_NOT_FOUND"),
    ("PATCH", "/api/series/999", "SERIES_NOT_FOUND"),
    ("POST", "/api/series/999/pause", "SERIES_NOT_FOUND"),
    ("POST", "/api/series/999/resume", "SERIES_NOT_FOUND"),
    ("DELETE", "/api/series/999", "SERIES_NOT_FOUND"),
    ("GET", "/api/series/999/runs", "SERIES_NOT_FOUND"),
    ("GET", "/api/series/999/resets", "SERIES_NOT_FOUND"),
    ("POST", "/api/flash-sales/999/restart", "SALE_NOT_FOUND"),
]


@pytest.mark.parametrize(("method", "path", "code"), ROUTES)
def test_only_admins_make_and_look_into_series_and_what_is_not_there_is_not_found(ask, customer, method, path, code):
    body = {"POST": SERIES | {"productId": "999"}, "PATCH": {"title": "New"}}
    sent = {"json": body[method]} if method in body and path.count("/") <= 3 else {}

    assert ask(method, path, headers={}, **sent).status_code == 401
    assert ask(method, path, headers=customer, **sent).status_code == 403
    answer = ask(method, path, **sent)
    assert (answer.status_code, answer.json["code"]) == (404, code)


@pytest.mark.parametrize("query", ["page=0", "limit=0", "limit=101", "page=x", "cursor=abc", "productId=0"])
def test_a_query_that_is_none_is_refused(client, query):
    assert client.get(f"/api/series?{query}").status_code == 400


def test_a_series_that_does_not_exist_is_not_found(client):
    assert client.get("/api/series/999").json["code"] == "SERIES_NOT_FOUND"
