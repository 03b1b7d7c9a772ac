"""Reference 004: every error that it shows."""

import pytest

from tests.reference.conftest import assert_refusal, created, moment, sale_body

MISSING_ID = "60d5ec49f1b2c8b9e8c8e9a2"


def test_a_sales_product_cannot_be_exchanged(shop, admin, create, make_product):
    sale = created(create())

    refused = shop.call("PATCH", f"/api/flash-sales/{sale['id']}", {"productId": make_product()}, admin.token)

    assert [error["field"] for error in assert_refusal(refused, 400)["errors"]] == ["productId"]


def test_an_active_sale_blocks_another_of_its_product(create):
    sale = created(create())

    refused = create(productId=sale["productId"])

    assert assert_refusal(refused, 400)["message"] == "An active flash sale already exists for this product"


@pytest.mark.parametrize("product_id", [MISSING_ID, "999999999"])
def test_a_sale_of_no_product_is_refused(create, product_id):
    assert assert_refusal(create(productId=product_id), 404)["message"] == "Product not found"


@pytest.mark.parametrize("sale_id", [MISSING_ID, "999999999", "0"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_sale_that_is_not_there_is_not_found(shop, admin, method, sale_id):
    body = {"title": "x"} if method == "PATCH" else None

    refused = shop.call(method, f"/api/flash-sales/{sale_id}", body, admin.token)

    assert assert_refusal(refused, 404)["message"] == "Flash sale not found"


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_admin_operations_need_an_admin(shop, customer, create, method):
    sale = created(create())
    path = "/api/flash-sales" if method == "POST" else f"/api/flash-sales/{sale['id']}"
    body = None if method == "DELETE" else {"title": "x"}

    assert assert_refusal(shop.call(method, path, body), 401)["message"] == "Unauthorized"
    assert assert_refusal(shop.call(method, path, body, "forged"), 401)["message"] == "Unauthorized"
    assert_refusal(shop.call(method, path, body, customer.token), 403)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("flashPrice", "Flash price is required"),
        ("title", "Title is required"),
        ("productId", "Product id is required"),
        ("startTime", "Start time is required"),
    ],
)
def test_a_missing_field_is_named_in_words(shop, admin, make_product, field, words):
    body = sale_body(make_product())
    del body[field]

    refused = assert_refusal(shop.call("POST", "/api/flash-sales", body, admin.token), 400)

    assert refused["message"] == "Validation error"
    assert refused["errors"] == [{"field": field, "message": words}]


@pytest.mark.parametrize(
    ("mistake", "field"),
    [
        ({"flashPrice": 0}, "flashPrice"),
        ({"flashPrice": -1}, "flashPrice"),
        ({"flashPrice": 99.99}, "flashPrice"),
        ({"flashPrice": 120}, "flashPrice"),
        ({"flashPrice": 49.999}, "flashPrice"),
        ({"flashPrice": "cheap"}, "flashPrice"),
        ({"totalStock": 0}, "totalStock"),
        ({"totalStock": -5}, "totalStock"),
        ({"totalStock": 1.5}, "totalStock"),
        ({"totalStock": "50"}, "totalStock"),
        ({"startTime": "soon"}, "startTime"),
        ({"endTime": moment(hours=-2)}, "endTime"),
        ({"startTime": moment(hours=3), "endTime": moment(hours=2)}, "endTime"),
        ({"productId": ""}, "productId"),
        ({"productId": ["1"]}, "productId"),
        ({"title": ""}, "title"),
        ({"isFeatured": "yes"}, "isFeatured"),
        ({"soldCount": 5}, "soldCount"),
    ],
)
def test_a_mistake_is_a_validation_error_with_its_field(create, mistake, field):
    refused = assert_refusal(create(**mistake), 400)

    assert refused["message"] == "Validation error"
    assert [error["field"] for error in refused["errors"]] == [field]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("status=SOON", "status"),
        ("isActive=perhaps", "isActive"),
        ("sortBy=password", "sortBy"),
        ("sortOrder=up", "sortOrder"),
    ],
)
def test_a_mistake_in_a_query_is_named_too(shop, query, field):
    refused = assert_refusal(shop.call("GET", f"/api/flash-sales?{query}"), 400)

    assert [error["field"] for error in refused["errors"]] == [field]
