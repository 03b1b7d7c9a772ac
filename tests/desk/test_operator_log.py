"""The operators' log: who did what, by either door, with nothing in it that is nobody's business."""

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from models.database import engine, transaction
from models.operator_log import OperatorEntry
from web import cookies
from web.trail import TEXT_LENGTH_MAX, without_secrets


@pytest.fixture
def entries(store):
    """entries() -> all entries, the oldest first"""

    def read():
        with transaction() as session:
            return list(session.scalars(select(OperatorEntry).order_by(OperatorEntry.id)))

    return read


@pytest.fixture
def api(operator):
    return lambda method, path, body=None, **headers: operator.client.open(
        path, method=method, json=body, headers={cookies.CSRF_HEADER: operator.csrf} | headers
    )


def test_the_same_deed_by_either_door_is_the_same_entry(operator, api, entries, make_sale):
    sale = make_sale(total_stock=5)

    api("POST", f"/api/flash-sales/{sale.id}/pause")
    operator.post(f"/admin/sales/{sale.id}/pause")
    api("PATCH", f"/api/flash-sales/{sale.id}", {"totalStock": 9})
    operator.send(f"/admin/sales/{sale.id}", totalStock="12")

    told = [(each.actor_id, each.action, each.subject, each.details.get("given")) for each in entries()]
    by = operator.user.id
    assert told == [
        (by, "sales.pause", f"sale:{sale.id}", None),
        (by, "sales.pause", f"sale:{sale.id}", None),
        (by, "sales.patch", f"sale:{sale.id}", {"totalStock": 9}),
        (by, "sales.patch", f"sale:{sale.id}", {"totalStock": 12}),
    ]
    assert [each.details["path"].split("/")[1] for each in entries()] == ["api", "admin", "api", "admin"]


def test_what_was_made_is_named(operator, api, entries, make_product):
    product = make_product()
    body = {"title": "A", "productId": str(product.id), "flashPrice": 1, "startTime": "2030-01-01T00:00:00Z"}
    sale_id = api("POST", "/api/flash-sales", body).json["data"]["id"]
    operator.send("/admin/products/new", name="Runner", price="9.99", currency="USD")

    sale, made = entries()
    assert (sale.action, sale.subject) == ("sales.create", f"sale:{sale_id}")
    assert sale.details["given"]["title"] == "A"
    assert (made.action, made.subject) == ("products.create", f"product:{product.id + 1}")
    assert made.details["given"]["price"] == "9.99"


def test_what_was_refused_and_what_was_only_read_leaves_no_entry(operator, api, buyer, entries, make_sale):
    sale = make_sale()
    api("GET", f"/api/flash-sales/{sale.id}/desk")
    api("PATCH", f"/api/flash-sales/{sale.id}", {"totalStock": -1})
    operator.send(f"/admin/sales/{sale.id}", totalStock="none")
    operator.post("/admin/sales/99/pause")
    buyer.post(f"/admin/sales/{sale.id}/pause")
    operator.get(f"/admin/sales/{sale.id}")

    assert entries() == []


def test_buyers_are_not_logged_even_if_they_are_admins(api, entries, make_sale):
    assert api("POST", f"/api/flash-sales/{make_sale().id}/purchases", {"quantity": 1}).status_code == 202

    assert entries() == []


def test_an_entry_names_its_request(api, entries, make_sale):
    api("POST", f"/api/flash-sales/{make_sale().id}/pause", **{"X-Request-Id": "from-the-proxy-7"})

    assert entries()[0].request_id == "from-the-proxy-7"


def test_old_dialects_are_logged_too(api, entries, make_product):
    answer = api("POST", "/start-sale", {"productId": str(make_product().id), "startTime": "2030-01-01T00:00:00Z"})

    assert answer.status_code == 201, answer.json
    assert [each.action.rpartition(".")[2] for each in entries()] == ["start_sale"]


def test_passwords_and_tokens_are_never_kept_and_long_text_is_cut():
    kept = without_secrets(
        {"name": "Ann", "password": "customer123", "newPassword": "x", "refreshToken": "y", "text": "z" * 5_000}
        | {f"field{number}": number for number in range(100)}
    )

    assert (kept["name"], kept["password"], kept["newPassword"], kept["refreshToken"]) == ("Ann", "…", "…", "…")
    assert len(kept["text"]) == TEXT_LENGTH_MAX + 1
    assert len(kept) == 30


def test_the_log_is_listed_newest_first_page_by_page_and_searched(operator, api, make_sale):
    sale, other = make_sale(), make_sale()
    for number in range(1, 8):
        api("PATCH", f"/api/flash-sales/{sale.id}", {"title": f"Title {number}"})
    api("POST", f"/api/flash-sales/{other.id}/pause")

    def page(query):
        answer = api("GET", f"/api/operator-log?{query}")
        assert answer.status_code == 200, answer.json
        return answer.json

    first = page(f"subject=sale:{sale.id}&limit=4")
    second = page(f"subject=sale:{sale.id}&limit=4&cursor={first['meta']['nextCursor']}")

    titles = [each["details"]["given"]["title"] for each in first["data"] + second["data"]]
    assert titles == [f"Title {number}" for number in range(7, 0, -1)]
    assert second["meta"]["nextCursor"] is None
    assert first["data"][0]["actor"] == "Olga"
    assert len(page(f"actorId={operator.user.id}")["data"]) == 8
    assert page("actorId=999")["data"] == []
    assert api("GET", "/api/operator-log?cursor=nonsense").status_code == 400
    shown = operator.get("/admin/log").text
    assert "sales.pause" in shown
    assert "Title 7" in shown


def test_a_deed_stands_though_its_entry_cannot_be_written_and_the_process_says_so(
    api, entries, make_sale, sale_row, caplog
):
    sale = make_sale()

    def fail(_connection, _cursor, statement, *_):
        if statement.startswith("INSERT INTO operator_log"):
            raise OperationalError(statement, None, Exception("away"))

    event.listen(engine(), "before_cursor_execute", fail)
    try:
        answer = api("POST", f"/api/flash-sales/{sale.id}/pause")
    finally:
        event.remove(engine(), "before_cursor_execute", fail)

    assert answer.status_code == 200
    assert sale_row(sale.id).paused
    assert entries() == []
    assert "operator.unlogged" in caplog.text
    assert "sales.pause" in caplog.text
