"""What the desk lets an operator do is what the API lets them do: the same rules, the same words."""

from datetime import timedelta

import pytest

from models.clock import now
from models.fraud import NewFraudRecord, Signal, Verdict, write_records
from models.gate import admit
from models.purchase import Kind
from models.sale_queries import get_sale
from models.settle import settle_turn
from tests.desk.conftest import HTML, hidden_fields
from web import cookies


@pytest.fixture
def api(operator):
    """api("PATCH", path, {…}) -> the API's answer to the same operator."""
    return lambda method, path, body=None: operator.client.open(
        path, method=method, json=body, headers={cookies.CSRF_HEADER: operator.csrf}
    )


def utc(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def test_a_sale_is_made_found_and_opened_like_one_of_the_api(operator, make_product):
    product = make_product()
    soon = now() + timedelta(hours=1)

    made = operator.send(
        "/admin/sales/new",
        title="Half the price",
        productId=str(product.id),
        flashPrice="49.99",
        totalStock="20",
        startTime=utc(soon),
        isFeatured="on",
    )

    assert made.status_code == 303, made.text
    sale = get_sale(int(made.location.split("?")[0].rpartition("/")[2]))
    assert (sale.title, sale.total_stock, sale.featured, str(sale.flash_price)) == ("Half the price", 20, True, "49.99")
    assert abs(sale.starts_at - soon) < timedelta(seconds=1)
    assert "Half the price" in operator.get("/admin/sales?searchTerm=half").text
    assert "Half the price" not in operator.get("/admin/sales?searchTerm=whole").text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"title": ""}, "Title is required"),
        ({"flashPrice": ""}, "Flash price is required"),
        ({"flashPrice": "99.99"}, "Must be below the product&#39;s price of 99.99"),
        ({"flashPrice": "cheap"}, "Must be a number with at most two decimals"),
        ({"totalStock": "0"}, "Must be greater than or equal to 1"),
        ({"totalStock": "many"}, "Must be a whole number"),
        ({"endTime": "2020-01-01T00:00:00"}, "Must be after startTime"),
        ({"startTime": "soon"}, "Must be a time in ISO 8601"),
        ({"productId": "999"}, "Product not found"),
    ],
)
def test_what_the_api_refuses_the_form_refuses_beside_the_field(operator, make_product, fields, said):
    sound = {
        "title": "A sale",
        "productId": str(make_product().id),
        "flashPrice": "49.99",
        "startTime": utc(now() + timedelta(hours=1)),
    }

    page = operator.send("/admin/sales/new", **sound | fields)

    assert page.status_code in (400, 404)
    assert said in page.text
    # Nothing that was typed is lost.
    typed = hidden_fields(page.text)
    assert all(typed[name] == text for name, text in (sound | fields).items())


def test_a_second_sale_of_a_product_is_refused_in_the_apis_words(operator, make_sale, api):
    product_id = make_sale().product_id
    start = now() + timedelta(hours=1)
    body = {"title": "Again", "productId": str(product_id), "flashPrice": 1, "startTime": start.isoformat()}
    by_api = api("POST", "/api/flash-sales", body)

    by_desk = operator.send(
        "/admin/sales/new", title="Again", productId=str(product_id), flashPrice="1", startTime=utc(start)
    )

    assert by_api.json["code"] == "ACTIVE_SALE_EXISTS"
    assert by_desk.status_code == by_api.status_code
    assert by_api.json["message"] in by_desk.text


def test_stock_cannot_be_lowered_below_what_is_sold_by_either_door(operator, api, make_sale, sale_row):
    sale = make_sale(total_stock=10)
    for user_id in range(1, 6):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    settle_turn(sale.id)

    by_api = api("PATCH", f"/api/flash-sales/{sale.id}", {"totalStock": 4})
    by_desk = operator.send(f"/admin/sales/{sale.id}", totalStock="4")

    assert (by_api.status_code, by_desk.status_code) == (400, 400)
    assert by_api.json["errors"][0]["message"] in by_desk.text
    assert sale_row(sale.id).total_stock == 10


def test_two_operators_who_change_different_fields_at_once_both_have_their_way(operator, make_sale, sale_row):
    sale = make_sale(total_stock=10)
    path = f"/admin/sales/{sale.id}"
    one, other = (hidden_fields(operator.get(path).text) for _ in range(2))

    assert operator.post(path, **one | {"title": "Renamed"}).status_code == 303
    assert operator.post(path, **other | {"totalStock": "12"}).status_code == 303

    assert (sale_row(sale.id).title, sale_row(sale.id).total_stock) == ("Renamed", 12)


def test_a_form_that_changes_nothing_leaves_the_sale_alone(operator, make_sale, sale_row):
    sale = make_sale(lasts=timedelta(hours=1), description="Two\nlines")

    assert operator.send(f"/admin/sales/{sale.id}").status_code == 303

    assert sale_row(sale.id).revision == sale.revision
    assert sale_row(sale.id).ends_at == sale.ends_at


def test_an_emptied_field_is_taken_away_and_an_unticked_box_is_off(operator, make_sale, sale_row):
    sale = make_sale(max_per_user=2, featured=True)
    fields = hidden_fields(operator.get(f"/admin/sales/{sale.id}").text)
    del fields["isFeatured"]

    assert operator.post(f"/admin/sales/{sale.id}", **fields | {"maxPerUser": ""}).status_code == 303

    assert (sale_row(sale.id).max_per_user, sale_row(sale.id).featured) == (None, False)


def test_the_buttons_do_what_the_api_does(operator, make_sale, sale_row):
    sale = make_sale(total_stock=5)
    path = f"/admin/sales/{sale.id}"

    assert operator.post(f"{path}/pause").status_code == 303
    assert sale_row(sale.id).paused
    assert operator.post(f"{path}/resume?from=desk").location == f"{path}/desk?done=1"
    assert not sale_row(sale.id).paused
    assert operator.post(f"{path}/restock?from=desk", totalStock="9").status_code == 303
    assert sale_row(sale.id).total_stock == 9
    assert operator.post(f"{path}/wake").status_code == 303
    assert operator.post(f"{path}/end").status_code == 303
    assert sale_row(sale.id).state == "ended"
    restarted = operator.post(f"{path}/restart")
    again = int(restarted.location.split("/")[3])
    assert (restarted.status_code, sale_row(again).state, sale_row(again).total_stock) == (303, "live", 9)
    assert operator.post(f"/admin/sales/{again}/archive").status_code == 303
    assert operator.get(f"/admin/sales/{again}").status_code == 404


def test_a_sale_that_is_over_cannot_be_paused_by_either_door(operator, api, make_sale):
    sale = make_sale()
    assert api("POST", f"/api/flash-sales/{sale.id}/end").status_code == 200

    by_api = api("POST", f"/api/flash-sales/{sale.id}/pause")
    by_desk = operator.post(f"/admin/sales/{sale.id}/pause")

    assert (by_api.status_code, by_desk.status_code) == (409, 409)
    assert by_api.json["message"] in by_desk.text
    assert operator.get(f"/admin/sales/{sale.id}/pause").location == f"/admin/sales/{sale.id}"


def test_products_are_made_changed_and_deleted(operator):
    made = operator.send(
        "/admin/products/new", name="Runner", price="99.99", currency="EUR", images="https://shop.test/a.png\n/b.png"
    )
    assert made.status_code == 303, made.text
    path = made.location.split("?")[0]

    refused = operator.send(path, price="-1")
    changed = operator.send(path, price="", stock="7")

    assert refused.status_code == 400
    assert changed.status_code == 303
    shown = hidden_fields(operator.get(path).text)
    assert (shown["price"], shown["stock"], shown["images"]) == ("", "7", "https://shop.test/a.png\n/b.png")
    assert operator.post(f"{path}/delete").status_code == 303
    assert operator.get(path).status_code == 404


def test_series_are_made_changed_paused_and_ended(operator, make_product):
    made = operator.send(
        "/admin/series/new",
        title="First Fridays",
        productId=str(make_product().id),
        rule="FREQ=MONTHLY;BYDAY=1FR",
        startsLocal="2026-01-02T18:00:00",
        zone="Europe/Berlin",
        flashPrice="49.99",
    )
    assert made.status_code == 303, made.text
    path = made.location.split("?")[0]

    assert operator.send(path, rule="FREQ=NEVER").status_code == 400
    assert operator.send(path, stockPerRun="33").status_code == 303
    assert operator.post(f"{path}/pause").status_code == 303
    assert "Paused" in operator.get("/admin/series").text
    assert operator.post(f"{path}/resume").status_code == 303
    assert operator.post(f"{path}/end").status_code == 303
    assert operator.send(path, title="Late").status_code == 409


def test_address_rules_are_made_changed_and_deleted_and_lock_nobody_out(operator):
    refused = operator.send("/admin/ip-rules/new", network="127.0.0.0/8", action="deny", reason="bots")
    assert refused.status_code == 409
    assert "lock you out" in refused.text
    made = operator.send("/admin/ip-rules/new", network="203.0.113.0/24", action="deny", reason="bots")
    assert made.status_code == 303, made.text
    path = made.location.split("?")[0]

    assert operator.send(path, reason="many bots").status_code == 303
    assert "many bots" in operator.get("/admin/ip-rules").text
    assert operator.post(f"{path}/delete").status_code == 303
    assert operator.get(path).status_code == 404


def test_a_fraud_record_is_found_overruled_once_and_taken_back(operator):
    at = now()
    write_records([NewFraudRecord(at, 7, None, 9, Signal.MANY_SALES, "7", 120, Verdict.FLAG, {})])
    assert "/admin/fraud-records/1/overrule" in operator.get("/admin/fraud-records?userId=7").text
    assert "/admin/fraud-records/1/overrule" not in operator.get("/admin/fraud-records?userId=8").text

    assert operator.send("/admin/fraud-records/1/overrule", note="known to us").status_code == 303
    assert operator.send("/admin/fraud-records/1/overrule", note="again").status_code == 409
    assert "known to us" in operator.get("/admin/fraud-records").text
    assert operator.send("/admin/fraud-records/1/withdraw").status_code == 303


def test_a_purchase_is_found_by_sale_and_by_buyer_and_refunded_once(operator, make_sale, sale_row):
    sale = make_sale(total_stock=3)
    admit(sale.id, operator.user.id, Kind.PURCHASE, 2)
    settle_turn(sale.id)
    shown = f"{sale.id}-1"
    for query in (f"saleId={sale.id}", f"userId={operator.user.id}", f"saleId={sale.id}&status=confirmed"):
        assert f"/admin/purchases/{shown}" in operator.get(f"/admin/purchases?{query}").text
    assert f"/admin/purchases/{shown}" not in operator.get(f"/admin/purchases?saleId={sale.id}&status=expired").text

    assert operator.send(f"/admin/purchases/{shown}", reason="").status_code == 400
    assert operator.send(f"/admin/purchases/{shown}", reason="too small").status_code == 303
    assert operator.post(f"/admin/purchases/{shown}", reason="too small").status_code == 409

    assert sale_row(sale.id).sold == 0
    movements = operator.get(f"/admin/movements?saleId={sale.id}").text
    assert "too small" in movements
    assert "refund" in movements


def test_text_of_other_people_is_text(operator, make_sale):
    sale = make_sale(title="<script>alert(1)</script>")

    for path in (
        "/admin",
        "/admin/sales",
        f"/admin/sales/{sale.id}",
        f"/admin/sales/{sale.id}/desk",
        f"/admin/sales/{sale.id}/report",
    ):
        assert "<script>alert" not in operator.client.get(path, headers=HTML).text
