"""A list of more sales than anybody pages through: no page shows what another shows."""

import pytest

from models import sale_queries
from models.sale_queries import OFFSET_MAX


def test_the_pages_show_each_sale_once_and_what_lies_behind_the_last_is_refused(client, make_sale, monkeypatch):
    monkeypatch.setattr(sale_queries, "OFFSET_MAX", 2)
    made = [str(make_sale().id) for _ in range(4)]

    pages = [client.get(f"/api/flash-sales?limit=1&page={page}") for page in (1, 2, 3, 4)]

    assert [page.json["data"][0]["id"] for page in pages[:3]] == made[:0:-1]
    assert (pages[3].status_code, pages[3].json["code"]) == (400, "VALIDATION_ERROR")
    words = "must be at most 3 with 1 to a page: narrow the list with its filters to see the others"
    assert pages[3].json["errors"] == [{"field": "page", "message": words}]


@pytest.mark.parametrize(("limit", "page_max"), [(1, 100_001), (10, 10_001), (7, 14_286), (100, 1_001)])
def test_the_last_page_depends_on_how_many_are_on_one(client, store, limit, page_max):
    last = client.get(f"/api/flash-sales?limit={limit}&page={page_max}")
    behind = client.get(f"/api/flash-sales?limit={limit}&page={page_max + 1}")

    assert (last.status_code, last.json["data"]) == (200, [])
    assert (behind.status_code, behind.json["errors"][0]["field"]) == (400, "page")


def test_the_description_says_how_far_one_may_page(app):
    described = app.api_doc["paths"]["/api/flash-sales"]["get"]["description"]

    assert f"At most {OFFSET_MAX:,} sales may lie before a page" in described
