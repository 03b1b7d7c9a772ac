import pytest


@pytest.fixture
def shoes(client, admin):
    return client.post("/api/categories", headers=admin, json={"name": "Shoes"}).json["data"]


def test_an_admin_makes_a_category_that_everybody_sees(client, shoes):
    assert shoes == {**shoes, "id": "1", "name": "Shoes", "slug": "shoes"}
    assert client.get("/api/categories/1").json["data"] == shoes
    assert client.get("/api/categories").json["meta"] == {"page": 1, "limit": 10, "total": 1}


def test_categories_are_listed_by_name(client, admin, shoes):
    client.post("/api/categories", headers=admin, json={"name": "Hats"})

    assert [each["name"] for each in client.get("/api/categories").json["data"]] == ["Hats", "Shoes"]


def test_a_name_is_taken_once(client, admin, shoes):
    hats = client.post("/api/categories", headers=admin, json={"name": "Hats"}).json["data"]

    made = client.post("/api/categories", headers=admin, json={"name": " Shoes "})
    renamed = client.patch(f"/api/categories/{hats['id']}", headers=admin, json={"name": "Shoes"})

    assert made.status_code == renamed.status_code == 409
    assert made.json["code"] == renamed.json["code"] == "CATEGORY_EXISTS"


def test_a_renamed_category_keeps_its_slug(client, admin, shoes):
    answer = client.patch("/api/categories/1", headers=admin, json={"name": "Boots"})

    assert answer.json["data"] == {**shoes, "name": "Boots"}


def test_a_category_with_products_stays(client, admin, shoes, make_product):
    make_product(category_id=1)

    answer = client.delete("/api/categories/1", headers=admin)

    assert (answer.status_code, answer.json["code"]) == (409, "CATEGORY_IN_USE")
    assert client.get("/api/categories/1").status_code == 200


def test_an_empty_category_is_deleted(client, admin, shoes):
    assert client.delete("/api/categories/1", headers=admin).status_code == 200
    assert client.get("/api/categories/1").json["code"] == "CATEGORY_NOT_FOUND"


def test_customers_touch_no_category(client, customer, auth, shoes):
    header = auth(customer)

    answers = [
        client.post("/api/categories", headers=header, json={"name": "Mine"}),
        client.patch("/api/categories/1", headers=header, json={"name": "Mine"}),
        client.delete("/api/categories/1", headers=header),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3
