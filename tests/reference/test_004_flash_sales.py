"""Reference 004, endpoint by endpoint: list, live, one, create, update and delete. Its errors: test_004_refusals.py."""

import re

import pytest

from tests.reference.conftest import assert_refusal, created, moment, sale_body

SALE_FIELDS = {
    "id",
    "title",
    "description",
    "productId",
    "originalPrice",
    "flashPrice",
    "discount",
    "totalStock",
    "soldCount",
    "remainingStock",
    "startTime",
    "endTime",
    "isActive",
    "isFeatured",
    "createdAt",
    "updatedAt",
    "product",
}
PRODUCT_FIELDS = {"id", "name", "slug", "images", "price", "stock", "category", "rating", "totalReviews"}


def listed(shop, query):
    """The titles of one page, and its meta."""
    answer = shop.call("GET", f"/api/flash-sales?{query}")
    assert (answer.status, answer.body["success"]) == (200, True)
    assert answer.body["message"] == "Flash sales retrieved successfully"
    return [sale["title"] for sale in answer.body["data"]], answer.body["meta"]


def test_login_gives_the_admin_token(shop, admin):
    answer = shop.call("POST", "/api/auth/login", {"email": admin.email, "password": "secret-password"})

    assert answer.status == 200
    token = answer.body["data"]["accessToken"]
    assert shop.call("GET", "/api/users/me", token=token).body["data"]["role"] == "admin"


def test_a_sale_is_created_with_its_numbers_worked_out(shop, admin):
    category = shop.call("POST", "/api/categories", {"name": f"Electronics {admin.id}"}, admin.token).body["data"]
    product = {
        "name": "Premium Headphones",
        "images": ["https://example.com/image.jpg"],
        "price": 99.99,
        "stock": 100,
        "categoryId": category["id"],
        "rating": 4.5,
        "totalReviews": 120,
    }
    product_id = shop.call("POST", "/api/products", product, admin.token).body["data"]["id"]

    answer = shop.call("POST", "/api/flash-sales", sale_body(product_id), admin.token)

    sale = created(answer)
    assert answer.body["message"] == "Flash sale created successfully"
    assert set(sale) >= SALE_FIELDS
    assert (sale["originalPrice"], sale["flashPrice"], sale["discount"]) == (99.99, 49.99, 50.0)
    assert (sale["totalStock"], sale["soldCount"], sale["remainingStock"]) == (50, 0, 50)
    assert (sale["isActive"], sale["isFeatured"], sale["productId"]) == (True, True, product_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", sale["startTime"])
    shown = sale["product"]
    assert set(shown) >= PRODUCT_FIELDS
    assert re.fullmatch(r"premium-headphones(-\d+)?", shown["slug"])
    assert shown["category"] == {"id": category["id"], "name": category["name"]}
    assert (shown["stock"], shown["rating"], shown["totalReviews"]) == (100, 4.5, 120)


def test_a_sale_is_found_by_its_id(shop, create):
    sale = created(create())

    answer = shop.call("GET", f"/api/flash-sales/{sale['id']}")

    assert (answer.status, answer.body["message"]) == (200, "Flash sale retrieved successfully")
    changing = {"serverTime"}
    assert {k: v for k, v in answer.body["data"].items() if k not in changing} == {
        k: v for k, v in sale.items() if k not in changing
    }


def test_sales_are_listed_by_page_and_filter_and_order(shop, create):
    word = f"Lot{moment()}".replace(":", "")
    for number, price in enumerate((30, 10, 20), 1):
        created(create(title=f"{word} {number}", flashPrice=price, isFeatured=number == 1))
    created(create(title=f"{word} later", startTime=moment(hours=1)))

    titles, meta = listed(shop, f"searchTerm={word}")
    assert titles == [f"{word} later", f"{word} 3", f"{word} 2", f"{word} 1"], "the newest first unless told"
    assert meta == {"page": 1, "limit": 10, "total": 4}
    assert listed(shop, f"searchTerm={word}&page=2&limit=3") == (
        [f"{word} 1"],
        {"page": 2, "limit": 3, "total": 4},
    )
    assert listed(shop, f"searchTerm={word}&status=UPCOMING")[0] == [f"{word} later"]
    assert len(listed(shop, f"searchTerm={word}&status=LIVE")[0]) == 3
    assert listed(shop, f"searchTerm={word}&status=ENDED")[0] == []
    assert listed(shop, f"searchTerm={word}&isFeatured=true")[0] == [f"{word} later", f"{word} 1"]
    assert len(listed(shop, f"searchTerm={word}&isActive=true")[0]) == 4
    by_price = listed(shop, f"searchTerm={word}&status=LIVE&sortBy=flashPrice&sortOrder=asc")[0]
    assert by_price == [f"{word} 2", f"{word} 3", f"{word} 1"]


@pytest.mark.parametrize("query", ["sortBy=soldCount&sortOrder=desc&limit=10", "isFeatured=true", "status=UPCOMING"])
def test_the_analytics_queries_of_the_document_are_answered(shop, query):
    titles, meta = listed(shop, query)

    assert len(titles) <= meta["limit"] == 10


def test_live_sales_are_those_that_can_be_bought_now(shop, admin, customer, create):
    live = created(create())
    later = created(create(startTime=moment(hours=1)))
    paused = created(create())
    shop.call("PATCH", f"/api/flash-sales/{paused['id']}", {"isActive": False}, admin.token)
    gone = created(create(totalStock=1))
    bought = shop.call(
        "POST", f"/api/flash-sales/{gone['id']}/purchases", {"quantity": 1}, customer.token, {"Prefer": "wait=10"}
    )
    assert bought.status == 201

    answer = shop.call("GET", "/api/flash-sales/live")

    assert answer.body["message"] == "Live flash sales retrieved successfully"
    ids = {sale["id"] for sale in answer.body["data"]}
    assert live["id"] in ids
    assert not ids & {later["id"], paused["id"], gone["id"]}


def test_an_update_works_the_discount_and_what_remains_out_anew(shop, admin, create):
    sale = created(create(startTime=moment(hours=1)))
    changes = {
        "title": "Updated Flash Sale Title",
        "description": "Updated description",
        "flashPrice": 39.99,
        "totalStock": 75,
        "startTime": moment(hours=2),
        "endTime": moment(hours=14),
        "isActive": False,
        "isFeatured": True,
    }

    answer = shop.call("PATCH", f"/api/flash-sales/{sale['id']}", changes, admin.token)

    assert (answer.status, answer.body["message"]) == (200, "Flash sale updated successfully")
    updated = answer.body["data"]
    assert (updated["flashPrice"], updated["discount"], updated["isActive"]) == (39.99, 60.0, False)
    assert (updated["title"], updated["totalStock"], updated["remainingStock"]) == (changes["title"], 75, 75)
    assert updated["startTime"] == changes["startTime"].replace("Z", ".000Z")


def test_what_remains_after_an_update_is_the_stock_less_what_is_sold(shop, admin, customer, create):
    sale = created(create())
    path = f"/api/flash-sales/{sale['id']}"
    shop.call("POST", f"{path}/purchases", {"quantity": 15}, customer.token, {"Prefer": "wait=10"})

    updated = shop.call("PATCH", path, {"totalStock": 75}, admin.token).body["data"]
    too_few = shop.call("PATCH", path, {"totalStock": 14}, admin.token)

    assert (updated["soldCount"], updated["remainingStock"]) == (15, 60)
    assert [error["field"] for error in assert_refusal(too_few, 400)["errors"]] == ["totalStock"]


def test_a_sale_is_deleted_and_shown_once_more(shop, admin, create):
    sale = created(create())
    path = f"/api/flash-sales/{sale['id']}"

    answer = shop.call("DELETE", path, token=admin.token)

    assert (answer.status, answer.body["message"]) == (200, "Flash sale deleted successfully")
    assert (answer.body["data"]["id"], answer.body["data"]["title"]) == (sale["id"], sale["title"])
    assert assert_refusal(shop.call("GET", path), 404)["message"] == "Flash sale not found"
    assert_refusal(shop.call("DELETE", path, token=admin.token), 404)


def test_a_product_can_be_on_sale_again_once_its_sale_is_deleted_or_held_back(shop, admin, create):
    first = created(create())
    shop.call("DELETE", f"/api/flash-sales/{first['id']}", token=admin.token)
    second = created(create(productId=first["productId"]))
    shop.call("PATCH", f"/api/flash-sales/{second['id']}", {"isActive": False}, admin.token)

    created(create(productId=first["productId"]))
