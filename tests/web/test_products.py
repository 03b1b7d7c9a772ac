from decimal import Decimal

import pytest
from sqlalchemy import func, select

from models.database import transaction
from models.product import Category, Product

SHOE = {
    "name": "Crème de la Shoe",
    "description": "Light, and gone soon",
    "images": ["https://example.com/shoe.jpg", "/static/shoe.png"],
    "price": 599.99,
    "stock": 100,
}


def _create(client, admin, **fields):
    return client.post("/api/products", headers=admin, json=SHOE | fields)


def _category(client, admin, name="Shoes"):
    return client.post("/api/categories", headers=admin, json={"name": name}).json["data"]["id"]


def test_an_admin_makes_a_product_that_everybody_sees(client, admin):
    category = _category(client, admin)

    made = _create(client, admin, categoryId=category)

    assert made.status_code == 201
    product = client.get(made.headers["Location"]).json["data"]
    assert product == made.json["data"]
    assert product == {
        "id": "1",
        "name": "Crème de la Shoe",
        "slug": "creme-de-la-shoe",
        "description": "Light, and gone soon",
        "images": ["https://example.com/shoe.jpg", "/static/shoe.png"],
        "price": 599.99,
        "currency": "USD",
        "stock": 100,
        "monthlyAllotment": None,
        "rating": 0,
        "totalReviews": 0,
        "category": {"id": category, "name": "Shoes"},
        "createdAt": product["createdAt"],
        "updatedAt": product["updatedAt"],
    }


def test_a_price_is_written_with_its_own_digits(client, admin):
    made = _create(client, admin, price="9999999999.90")

    assert b'"price":9999999999.90,' in made.data
    with transaction() as session:
        assert session.scalar(select(Product.price)) == Decimal("9999999999.90")


def test_customers_make_change_and_delete_nothing(client, customer, auth, admin):
    _create(client, admin)
    header = auth(customer)

    answers = [
        client.post("/api/products", headers=header, json=SHOE),
        client.patch("/api/products/1", headers=header, json={"name": "Mine"}),
        client.delete("/api/products/1", headers=header),
    ]

    assert [(answer.status_code, answer.json["code"]) for answer in answers] == [(403, "FORBIDDEN")] * 3
    assert client.get("/api/products/1").json["data"]["name"] == "Crème de la Shoe"


def test_two_products_of_one_name_have_two_slugs(client, admin):
    slugs = [_create(client, admin).json["data"]["slug"] for _ in range(3)]

    assert slugs == ["creme-de-la-shoe", "creme-de-la-shoe-2", "creme-de-la-shoe-3"]


def test_a_name_without_latin_letters_has_a_slug_too(client, admin):
    assert _create(client, admin, name="ধামাকা").json["data"]["slug"] == "product"


def test_only_the_named_fields_change(client, admin):
    before = _create(client, admin, categoryId=_category(client, admin)).json["data"]

    after = client.patch("/api/products/1", headers=admin, json={"price": "49.5", "description": None}).json["data"]

    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"price", "description", "updatedAt"}
    assert (after["price"], after["description"]) == (49.5, None)


def test_a_product_leaves_its_category(client, admin):
    _create(client, admin, categoryId=_category(client, admin))

    assert client.patch("/api/products/1", headers=admin, json={"categoryId": None}).json["data"]["category"] is None


def test_a_category_that_does_not_exist_is_named_as_the_mistake(client, admin):
    answer = _create(client, admin, categoryId="7")

    assert answer.status_code == 400
    assert answer.json["errors"] == [{"field": "categoryId", "message": "there is no such category"}]


def test_ids_are_taken_as_text_and_as_numbers(client, admin):
    category = _category(client, admin)

    assert _create(client, admin, categoryId=category).status_code == 201
    assert _create(client, admin, categoryId=int(category)).status_code == 201


def test_a_product_that_was_never_sold_is_deleted(client, admin):
    _create(client, admin)

    answer = client.delete("/api/products/1", headers=admin)

    assert answer.json["message"] == "Product deleted successfully"
    with transaction() as session:
        assert session.scalar(select(func.count(Product.id))) == 0


def test_a_product_with_a_sale_is_archived_so_that_history_keeps_its_name(client, admin, make_sale):
    sale = make_sale()

    answer = client.delete(f"/api/products/{sale.product_id}", headers=admin)

    assert answer.json["message"] == "Product archived successfully"
    assert client.get(f"/api/products/{sale.product_id}").json["code"] == "PRODUCT_NOT_FOUND"
    assert client.get("/api/products").json["meta"]["total"] == 0
    assert client.delete(f"/api/products/{sale.product_id}", headers=admin).status_code == 404


@pytest.mark.parametrize("product_id", ["0", "2", "abc", "9223372036854775808", "9" * 30, "9" * 5000, "-1", "1.0"])
def test_what_is_no_product_is_not_found(client, admin, product_id):
    assert client.get(f"/api/products/{product_id}").status_code == 404
    assert client.patch(f"/api/products/{product_id}", headers=admin, json={}).status_code == 404


class TestListing:
    @pytest.fixture(autouse=True)
    def _shop(self, store):
        with transaction() as session:
            shelf = Category(name="Shoes", slug="shoes")
            session.add(shelf)
            session.flush()
            for number, (name, price) in enumerate([("b_oot", 30), ("Clog", None), ("Boot", 10), ("sandal 100%", 20)]):
                category_id = shelf.id if number < 2 else None
                session.add(Product(name=name, slug=str(number), price=price, category_id=category_id))
                session.flush()

    @staticmethod
    def _names(client, query=""):
        answer = client.get(f"/api/products?{query}")
        return [product["name"] for product in answer.json["data"]]

    def test_the_newest_comes_first(self, client):
        assert self._names(client) == ["sandal 100%", "Boot", "Clog", "b_oot"]

    def test_pages_follow_each_other_and_count_the_whole(self, client):
        pages = [client.get(f"/api/products?limit=3&page={page}").json for page in (1, 2, 3)]

        assert [len(page["data"]) for page in pages] == [3, 1, 0]
        assert [page["meta"] for page in pages] == [{"page": page, "limit": 3, "total": 4} for page in (1, 2, 3)]

    def test_what_has_no_price_comes_last_either_way(self, client):
        assert self._names(client, "sortBy=price&sortOrder=asc") == ["Boot", "sandal 100%", "b_oot", "Clog"]
        assert self._names(client, "sortBy=price&sortOrder=desc") == ["b_oot", "sandal 100%", "Boot", "Clog"]

    def test_a_search_finds_a_part_of_the_name_in_any_case(self, client):
        assert self._names(client, "searchTerm=OO") == ["Boot", "b_oot"]

    def test_names_are_sorted_without_regard_to_case(self, client):
        assert self._names(client, "sortBy=name&sortOrder=desc")[:2] == ["sandal 100%", "Clog"]

    @pytest.mark.parametrize(("term", "found"), [("%25", ["sandal 100%"]), ("_", ["b_oot"]), ("%5C", [])])
    def test_signs_that_mean_something_to_sql_mean_themselves(self, client, term, found):
        assert self._names(client, f"searchTerm={term}") == found

    def test_a_category_narrows_the_list(self, client):
        assert self._names(client, "categoryId=1") == ["Clog", "b_oot"]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("page=0", "page"),
            ("page=x", "page"),
            ("page=99999999999999999999", "page"),
            ("limit=101", "limit"),
            ("limit=-1", "limit"),
            ("sortBy=password", "sortBy"),
            ("sortOrder=up", "sortOrder"),
            ("categoryId=x", "categoryId"),
            ("searchTerm=a%00b", "searchTerm"),
            ("searchTerm=" + "x" * 101, "searchTerm"),
            ("colour=red", "colour"),
        ],
    )
    def test_a_query_that_cannot_be_meant_is_refused_by_name(self, client, query, field):
        answer = client.get(f"/api/products?{query}")

        assert answer.status_code == 400
        assert [error["field"] for error in answer.json["errors"]] == [field]
