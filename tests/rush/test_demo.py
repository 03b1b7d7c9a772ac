"""What a first visitor finds, and that a second start leaves it alone."""

import re

import pytest
from sqlalchemy import func, select

from models.database import transaction
from models.passwords import is_right_password
from models.product import Product
from models.sale import FlashSale
from models.settings import Settings, settings
from models.user import User
from ops import demo
from ops.errors import OpsError


def counts() -> tuple[int, int, int]:
    """How many users, products and sales there are."""
    with transaction() as session:
        users, products, sales = (
            session.scalar(select(func.count()).select_from(table)) or 0 for table in (User, Product, FlashSale)
        )
        return users, products, sales


def passwords_in(text: str) -> list[str]:
    return re.findall(r"@doorbuster\.example\s+(\S+)", text)


@pytest.mark.usefixtures("store")
def test_the_first_start_makes_two_accounts_a_shoe_and_a_sale_that_is_about_to_open() -> None:
    told = demo.seed()

    with transaction() as session:
        sale = session.scalars(select(FlashSale)).one()
        admin = session.scalars(select(User).where(User.email == demo.ADMIN_EMAIL)).one()
    assert counts() == (2, 1, 1)
    assert admin.is_admin
    assert is_right_password(admin.password_hash, passwords_in(told)[0])
    assert (sale.total_stock, sale.state, sale.ends_at) == (200, "scheduled", None)
    assert (str(sale.flash_price), str(sale.original_price), sale.currency) == ("60.00", "120.00", "USD")


@pytest.mark.usefixtures("store")
def test_the_second_start_keeps_everything_and_tells_no_password() -> None:
    demo.seed()

    told = demo.seed()

    assert counts() == (2, 1, 1)
    assert passwords_in(told) == []
    assert "The demo is there" in told


@pytest.mark.usefixtures("store")
def test_a_start_that_was_killed_before_the_sale_is_finished_by_the_next() -> None:
    demo._seed_accounts_and_product()

    demo.seed()

    assert counts() == (2, 1, 1)


@pytest.mark.usefixtures("store")
def test_a_start_that_was_killed_within_the_accounts_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(demo, "_add_product", die)
        with pytest.raises(KeyboardInterrupt):
            demo.seed()
    assert counts() == (0, 0, 0)

    told = demo.seed()

    assert counts() == (2, 1, 1)
    assert len(passwords_in(told)) == 2


@pytest.mark.usefixtures("store")
def test_a_sale_that_is_over_is_not_replaced() -> None:
    demo.seed()
    with transaction() as session:
        sale = session.scalars(select(FlashSale)).one()
        sale.state, sale.end_reason = "ended", "sold-out"

    demo.seed()

    assert counts() == (2, 1, 1)


def test_a_database_with_users_of_its_own_gets_no_demo(make_user: object) -> None:
    make_user()  # type: ignore[operator]

    told = demo.seed()

    assert counts() == (1, 0, 0)
    assert "no demo was set up" in told


@pytest.mark.usefixtures("store")
def test_there_is_no_demo_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    production: Settings = settings().model_copy(update={"environment": "production"})
    monkeypatch.setattr(demo, "settings", lambda: production)

    with pytest.raises(OpsError, match="not for production"):
        demo.seed()
    assert counts() == (0, 0, 0)
