"""The application over empty stores, its answers checked against its own description."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI

from models.passwords import hash_password
from models.settings import settings
from models.user import User
from web.app import create_app
from web.auth import issue_access_token
from web.limits import limiter

PASSWORD = "customer123"


@pytest.fixture
def change_settings(store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """change_settings(ALLOW_ADMIN_SIGNUP="true"): the settings of this process, until the test ends."""

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield change
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def app(store: Any) -> OpenAPI:
    app = create_app()
    # An answer that is not as the document says it is, is an error.
    app.validate_response = True
    limiter._storage_dead = False
    return app


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
