"""The application over empty stores, its answers checked against its own description."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI

from models.passwords import hash_password
from models.user import User
from tests.application import application
from web.auth import issue_access_token

PASSWORD = "customer123"


@pytest.fixture
def app(store: Any) -> OpenAPI:
    return application()


@pytest.fixture
def client(app: OpenAPI) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def token_for() -> Callable[[User], str]:
    return lambda user: issue_access_token(user.id, user.role)


@pytest.fixture
def auth(token_for: Callable[[User], str]) -> Callable[[User], dict[str, str]]:
    """auth(user) -> the header that this user sends."""
    return lambda user: {"Authorization": f"Bearer {token_for(user)}"}


@pytest.fixture
def admin(make_user: Callable[..., User], auth: Callable[[User], dict[str, str]]) -> dict[str, str]:
    """The header of an admin."""
    return auth(make_user(role="admin"))


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def customer(make_user: Callable[..., User], password_hash: str) -> User:
    """A customer who can log in with PASSWORD."""
    return make_user(name="Ann", email="ann@shop.test", password_hash=password_hash)
