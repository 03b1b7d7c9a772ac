"""Users at the desk: made, named, blocked and let in again, made admins and customers; each asked about first."""

import re

import pytest
from sqlalchemy import select

from models.accounts import create_account, find_user, log_in
from models.database import transaction
from models.operator_log import OperatorEntry
from models.user import Role
from tests.desk.conftest import PASSWORD, Browser


def buttons(page):
    return re.findall(r"<button[^>]*>([^<]+)</button>", page.text)


def test_a_user_is_made_found_and_may_log_in(app, operator):
    made = operator.send("/admin/users/new", name="Bo", email="BO@shop.test", password=" with spaces ", role="admin")

    assert made.status_code == 303, made.text
    assert "Bo" in operator.get(made.location).text
    user = log_in("bo@shop.test", " with spaces ")
    assert (user.name, user.role) == ("Bo", "admin")
    assert "bo@shop.test" in operator.get("/admin/users?search=bo@").text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "Name is required"),
        ({"email": "bo"}, "Must be an e-mail address"),
        ({"password": "short"}, "at least 6 characters"),
        ({"role": ""}, None),
        ({"role": "king"}, "Must be "),
        ({"email": "olga@shop.test"}, "There is an account with this e-mail address already"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_a_password_is_never_shown(operator, fields, said):
    typed = {"name": "Bo", "email": "bo@shop.test", "password": "a secret of bo", "role": "customer"} | fields

    answer = operator.send("/admin/users/new", **typed)

    if said is None:
        assert answer.status_code == 303, "without a role somebody is a customer"
        return
    assert answer.status_code in (400, 409)
    assert said in answer.text
    assert "a secret of bo" not in answer.text
    assert 'type="password"' in answer.text


def test_a_blocked_user_is_out_at_once_and_let_in_again(operator, buyer):
    page = f"/admin/users/{buyer.user.id}"
    assert buttons(operator.get(page))[-3:] == ["Block", "Make admin", "Save"]
    assert "Block Kim?" in operator.get(f"{page}/block").text
    assert find_user(buyer.user.id).blocked_at is None, "a question does nothing"

    assert operator.post(f"{page}/block").status_code == 303

    shown = operator.get(page)
    assert "blocked " in shown.text
    assert buttons(shown)[-3:] == ["Unblock", "Make admin", "Save"]
    assert buyer.get("/account").status_code == 303, "to the log-in"
    operator.post(f"{page}/unblock")
    assert log_in(buyer.user.email, PASSWORD).id == buyer.user.id


def test_a_customer_becomes_an_admin_and_is_made_a_customer_again(app, operator, buyer):
    page = f"/admin/users/{buyer.user.id}"

    operator.post(f"{page}/make-admin")
    assert buttons(operator.get(page))[-3:] == ["Block", "Make customer", "Save"]
    kim = Browser(app, find_user(buyer.user.id))
    assert kim.get("/admin").status_code == 200

    operator.post(f"{page}/make-customer")
    assert kim.get("/admin").status_code in (303, 401)
    assert find_user(buyer.user.id).role == "customer"


def test_another_name_logs_nobody_out(operator, buyer):
    operator.send(f"/admin/users/{buyer.user.id}", name="Kimberly")

    assert find_user(buyer.user.id).name == "Kimberly"
    assert buyer.get("/account").status_code == 200


def test_for_oneself_there_are_no_buttons_but_a_reason(operator):
    page = f"/admin/users/{operator.user.id}"

    shown = operator.get(page)
    assert buttons(shown)[-1:] == ["Save"]
    assert not {"Block", "Make customer"} & set(buttons(shown))
    assert "nobody blocks themselves" in shown.text

    for deed in ("block", "make-customer"):
        refused = operator.post(f"{page}/{deed}")
        assert (refused.status_code, refused.mimetype) == (403, "text/html")
        assert "ask another admin" in refused.text
    assert find_user(operator.user.id).is_admin


def test_every_deed_stands_in_the_log_by_the_name_that_the_api_has_for_it(operator, buyer):
    other = create_account("Lee", "lee@shop.test", PASSWORD, Role.CUSTOMER)
    operator.post(f"/admin/users/{buyer.user.id}/block")
    operator.post(f"/admin/users/{other.id}/make-admin")
    operator.send("/admin/users/new", name="Bo", email="bo@shop.test", password="a secret of bo", role="admin")

    with transaction() as session:
        entries = session.scalars(select(OperatorEntry).order_by(OperatorEntry.id)).all()
    assert [(each.action, each.subject, each.details.get("given")) for each in entries] == [
        ("users.block", f"user:{buyer.user.id}", None),
        ("users.change", f"user:{other.id}", {"role": "admin"}),
        (
            "users.create",
            f"user:{other.id + 1}",
            {"name": "Bo", "email": "bo@shop.test", "password": "…", "role": "admin"},
        ),
    ]
    assert f"/admin/users/{buyer.user.id}" in operator.get("/admin/log").text
