"""Query strings as forms and clients write them."""

import pytest


@pytest.mark.parametrize(
    "query", ["searchTerm=&status=&isActive=&sortBy=&sortOrder=&page=&limit=", "searchTerm=", "page=", "status="]
)
def test_a_parameter_that_nobody_filled_in_is_not_given(client, make_sale, query):
    sale = make_sale()

    answer = client.get(f"/api/flash-sales?{query}")

    assert answer.status_code == 200
    assert [each["id"] for each in answer.json["data"]] == [str(sale.id)]
    assert answer.json["meta"] == {"page": 1, "limit": 10, "total": 1}


def test_a_name_that_nobody_knows_is_refused_without_a_value_too(client, store):
    answer = client.get("/api/flash-sales?searchTern=")

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json["errors"]] == ["searchTern"]
