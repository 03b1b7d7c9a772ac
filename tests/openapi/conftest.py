"""The application over empty stores, and a shop in it for everything that a path can name."""

import os
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from flask_openapi.openapi import OpenAPI

from models.categories import create_category
from models.clock import now
from models.database import transaction
from models.fraud import FraudRecord, Signal, Verdict
from models.gate import admit
from models.passwords import hash_password
from models.purchase import Kind
from models.settings import settings
from models.settle import settle_turn
from models.tokens import issue_access_token
from models.user import User
from web.app import create_app
from web.examples import EXAMPLES
from web.limits import limiter

PASSWORD = "the keeper's own"
SETTINGS = {
    # Nobody is too fast, and nobody waits long where no worker runs.
    "RATE_LIMIT_EXEMPT": "0.0.0.0/0, ::/0",
    "WAIT_SECONDS_MAX": "1",
}


@pytest.fixture
def app(store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAPI]:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    limiter._storage_dead = False
    yield create_app()
    for name in SETTINGS:
        os.environ.pop(name, None)
    settings.cache_clear()


@pytest.fixture
def document(app: OpenAPI) -> dict[str, Any]:
    return app.test_client().get("/api/openapi.json").json


@pytest.fixture
def stock_shop(app: OpenAPI, make_user: Any, make_product: Any, make_sale: Any) -> Callable[[User], dict[str, Any]]:
    """stock_shop(owner) -> ids for paths: of a live sale in which the owner bought and holds units, and what goes with
    it. `spare_product_id` is in no sale."""
    admin = make_user(role="admin", email="keeper@shop.test", password_hash=hash_password(PASSWORD))
    numbers = count(1)

    def made(path: str, body: dict[str, Any]) -> str:
        header = {"Authorization": f"Bearer {issue_access_token(admin.id, admin.role)}"}
        answer = app.test_client().post(path, json=body, headers=header)
        assert answer.status_code == 201, answer.json
        return answer.json["data"]["id"]

    def stock(owner: User) -> dict[str, Any]:
        number = next(numbers)
        category, empty = create_category(f"Shelf {number}"), create_category(f"Empty shelf {number}")
        product, spare, recurring = make_product(category_id=category.id), make_product(), make_product()
        sale = make_sale(product_id=product.id)
        bought = admit(sale.id, owner.id, Kind.PURCHASE, 1).ticket
        held = admit(sale.id, owner.id, Kind.RESERVATION, 1).ticket
        settle_turn(sale.id)
        return {
            "category_id": category.id,
            "empty_category_id": empty.id,
            "product_id": product.id,
            "spare_product_id": spare.id,
            "sale_id": sale.id,
            "ticket": bought,
            "purchase_id": f"{sale.id}-{held}",
            "bought_id": f"{sale.id}-{bought}",
            "user_id": owner.id,
            "other_user_id": make_user().id,
            "series_id": int(made("/api/series", EXAMPLES["seriesCreate"] | {"productId": str(recurring.id)})),
            "rule_id": int(made("/api/ip-rules", EXAMPLES["ipRulesCreate"] | {"network": f"2001:db8::{number:x}/128"})),
            "record_id": _fraud_record(sale.id, owner.id),
            "overruled_id": _fraud_record(sale.id, owner.id, overruled_by=admin.id, overruled_at=now(), note="known"),
        }

    return stock


def _fraud_record(sale_id: int, user_id: int, **overruled: Any) -> int:
    with transaction() as session:
        record = FraudRecord(
            at=now(),
            user_id=user_id,
            sale_id=sale_id,
            signal=Signal.MANY_ACCOUNTS,
            subject=f"2001:db8::{sale_id:x}",
            score=100,
            action=Verdict.FLAG,
            details={},
            **overruled,
        )
        session.add(record)
    return record.id
