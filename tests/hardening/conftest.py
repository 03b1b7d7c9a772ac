"""The application over empty stores, as in tests/web, and a browser as in tests/desk."""

import pytest

from models.accounts import create_account
from models.user import Role
from tests.desk.conftest import Browser
from tests.web.conftest import (  # noqa: F401 - fixtures of the same name
    admin,
    app,
    auth,
    client,
    customer,
    password_hash,
    token_for,
)

PASSWORD = "customer123"


@pytest.fixture
def operator(app):  # noqa: F811
    """An admin at the desk."""
    return Browser(app, create_account("Olga", "olga@shop.test", PASSWORD, Role.ADMIN))


@pytest.fixture
def buyer(app):  # noqa: F811
    """A customer with a browser."""
    return Browser(app, create_account("Kim", "kim@shop.test", PASSWORD, Role.CUSTOMER))
