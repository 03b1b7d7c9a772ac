import pytest
from sqlalchemy import select

from models.database import transaction
from models.user import User


@pytest.fixture
def run(app):
    return lambda *arguments, typed="": app.test_cli_runner().invoke(
        args=["users", "create-admin", *arguments], input=typed
    )


def _users():
    with transaction() as session:
        return [(user.email, user.role) for user in session.scalars(select(User))]


def test_an_operator_makes_an_admin_who_can_log_in(run, client):
    result = run("--email", "Boss@Shop.test", typed="admin123\nadmin123\n")

    assert result.exit_code == 0, result.output
    assert "admin123" not in result.output
    answer = client.post("/api/auth/login", json={"email": "boss@shop.test", "password": "admin123"})
    assert answer.json["data"]["user"]["role"] == "admin"


def test_a_script_hands_the_password_over_on_standard_input(run):
    result = run("--email", "boss@shop.test", "--password-stdin", typed="admin123\n")

    assert result.exit_code == 0
    assert _users() == [("boss@shop.test", "admin")]


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (["--email", "nobody", "--password-stdin"], "admin123\n"),
        (["--email", "boss@shop.test", "--password-stdin"], "short\n"),
        (["--email", "boss@shop.test", "--password-stdin"], ""),
        (["--email", "boss@shop.test"], "admin123\nadmin124\n"),
    ],
)
def test_what_could_not_log_in_is_not_made(run, arguments, typed):
    result = run(*arguments, typed=typed)

    assert result.exit_code != 0
    assert "admin123" not in result.output
    assert _users() == []


def test_an_address_that_is_taken_is_said_to_be(run, customer):
    result = run("--email", customer.email, "--password-stdin", typed="admin123\n")

    assert result.exit_code == 1
    assert "There is an account" in result.output
    assert _users() == [(customer.email, "customer")]
