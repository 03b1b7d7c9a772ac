"""A sale with buyers who bought, and the application that shows them."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.gate import admit
from models.purchase import Kind
from models.sale import FlashSale
from models.settle import settle_turn
from models.tokens import issue_access_token
from models.user import User
from tests.application import application


@pytest.fixture
def client(store: Any) -> FlaskClient:
    return application().test_client()


@pytest.fixture
def look(client: FlaskClient) -> Callable[..., Any]:
    """look(user, path, status=200) -> the answer's JSON, as this user sees it."""

    def get(user: User, path: str, status: int = 200) -> Any:
        header = {"Authorization": f"Bearer {issue_access_token(user.id, user.role)}"}
        answer = client.get(path, headers=header)
        assert answer.status_code == status, answer.json
        return answer.json

    return get


@pytest.fixture
def buy(store: Any) -> Callable[..., list[int]]:
    """buy(sale, (user, quantity), …) -> their tickets; settled together."""

    def buy_all(sale: FlashSale, *wanted: tuple[User, int], kind: Kind = Kind.PURCHASE) -> list[int]:
        tickets = [admit(sale.id, user.id, kind, quantity).ticket for user, quantity in wanted]
        settle_turn(sale.id)
        return tickets

    return buy_all
