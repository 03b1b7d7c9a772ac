"""Who may see the desk: admins, on every route that there is, and nobody without a page of ours."""

import pytest
from sqlalchemy import select

from models.database import transaction
from models.operator_log import OperatorEntry
from tests.desk.conftest import HTML
from web.access import Access

IDS = {"id": "1", "purchase_id": "1-1"}


def routes(app):
    """(method, path) of every route under /admin, with ids in it that may or may not be there."""
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/admin"):
            continue
        values = dict.fromkeys(rule.arguments, "1") | (
            {"purchase_id": "1-1"} if "purchase_id" in rule.arguments else {}
        )
        if "action" in rule.arguments:
            values["action"] = min(rule._converters["action"].items)
        with app.test_request_context():
            path = app.url_map.bind("").build(rule.endpoint, values)
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            yield method, path


def test_every_route_of_the_desk_says_that_it_is_for_admins(app):
    views = {rule.endpoint for rule in app.url_map.iter_rules() if rule.rule.startswith("/admin")}

    assert len(views) > 25
    assert {getattr(app.view_functions[view], "access", None) for view in views} == {Access.ADMIN}


def test_nobody_and_no_customer_comes_in_by_any_route(app, nobody, buyer, make_sale):
    make_sale()
    seen = list(routes(app))
    for method, path in seen:
        if method == "GET":
            answer = nobody.get(path)
            assert (answer.status_code, answer.location.split("?")[0]) == (303, "/login"), path
            assert buyer.get(path).status_code == 403, path
        else:
            assert nobody.post(path).status_code == 401, path
            assert buyer.post(path).status_code == 403, path
            assert buyer.post(path).mimetype == "text/html"
    assert len(seen) > 40
    with transaction() as session:
        assert session.scalars(select(OperatorEntry)).all() == []


def test_a_form_from_elsewhere_changes_nothing(app, operator, make_sale, sale_row):
    sale = make_sale()
    for method, path in routes(app):
        if method == "POST":
            answer = operator.client.post(path, data={"title": "Mine"}, headers=HTML)
            assert answer.status_code == 403, path
            forged = operator.client.post(path, data={"csrfToken": "1.x.y"}, headers=HTML)
            assert forged.status_code == 403, path
    assert (sale_row(sale.id).paused, sale_row(sale.id).revision) == (False, sale.revision)


def test_an_admin_sees_every_page(app, operator, make_sale):
    make_sale()
    missing = ("/admin/series/1", "/admin/ip-rules/1", "/admin/categories/1", "/admin/purchases/1-1")
    for method, path in routes(app):
        if method == "GET":
            answer = operator.get(path)
            expected = (404,) if path.startswith(missing) else (200, 303)
            assert answer.status_code in expected, (path, answer.text)


@pytest.mark.parametrize("path", ["/api/flash-sales/1/desk", "/api/operator-log"])
def test_the_numbers_are_for_admins_alone(client, auth, make_user, make_sale, path):
    make_sale()

    assert client.get(path).status_code == 401
    assert client.get(path, headers=auth(make_user())).status_code == 403
    assert client.get(path, headers=auth(make_user(role="admin"))).status_code == 200


def test_a_page_that_is_not_there_is_a_page_that_says_so(operator):
    for path in (
        "/admin/sales/99",
        "/admin/sales/99/desk",
        "/admin/sales/99/report",
        "/admin/users/99",
        "/admin/products/99",
    ):
        answer = operator.get(path)
        assert (answer.status_code, answer.mimetype) == (404, "text/html"), path
