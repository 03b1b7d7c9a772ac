"""Categories at the desk, by the API's rules."""

import pytest

from models.categories import create_category
from tests.desk.conftest import hidden_fields


@pytest.fixture
def shoes(store):
    return create_category("Shoes")


def test_a_category_is_made_renamed_and_deleted_and_the_log_says_so(operator):
    made = operator.send("/admin/categories/new", name="Shoes")
    assert made.status_code == 303, made.text
    path = made.location.partition("?")[0]
    assert hidden_fields(operator.get(path).text)["name"] == "Shoes"

    assert operator.send(path, name="Boots").status_code == 303
    listed = operator.get("/admin/categories").text
    assert "Boots" in listed
    assert "shoes" in listed, "its address stays"
    assert operator.send(path).status_code == 303, "the same name again is no fault"
    assert "Delete Boots?" in operator.get(f"{path}/delete").text
    assert operator.post(f"{path}/delete").status_code == 303

    assert operator.get(path).status_code == 404
    log = operator.get("/admin/log").text
    assert all(action in log for action in ("categories.create", "categories.rename", "categories.delete"))
    assert f'href="{path}"' in log


def test_two_categories_have_two_names_by_either_door(operator, shoes):
    boots = create_category("Boots")

    by_new = operator.send("/admin/categories/new", name="Shoes")
    by_rename = operator.send(f"/admin/categories/{boots.id}", name="Shoes")

    for page in (by_new, by_rename):
        assert page.status_code == 409
        assert "There is a category with this name already" in page.text
        assert hidden_fields(page.text)["name"] == "Shoes", "nothing that was typed is lost"
    assert operator.send(f"/admin/categories/{boots.id}", name="").status_code == 400


def test_a_category_with_products_in_it_stays(operator, shoes, make_product):
    make_product(category_id=shoes.id)

    page = operator.post(f"/admin/categories/{shoes.id}/delete")

    assert page.status_code == 409
    assert "There are products in this category" in page.text
    assert operator.get(f"/admin/categories/{shoes.id}").status_code == 200


def test_a_product_is_put_into_a_category_of_the_desk(operator, shoes, make_product):
    product = make_product()

    assert operator.send(f"/admin/products/{product.id}", categoryId=str(shoes.id)).status_code == 303
    assert "Shoes" in operator.get("/admin/products").text
