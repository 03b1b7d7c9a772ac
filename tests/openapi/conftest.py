"""The application over empty stores, and a shop in it for everything that a path can name."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask_openapi.openapi import OpenAPI

from models import rediskeys
from models.categories import create_category
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settings import settings
from models.settle import settle_turn
from models.user import User
from web.app import create_app
from web.limits import limiter

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
def stock_shop(make_user: Any, make_product: Any, make_sale: Any) -> Callable[[User], dict[str, Any]]:
    """stock_shop(owner) -> values for path parameters: a live sale in which the owner bought and holds units."""

    def stock(owner: User) -> dict[str, Any]:
        category = create_category(f"Shelf {redis_client().incr('tests:shelves')}")
        product = make_product(category_id=category.id)
        sale = make_sale(product_id=product.id)
        bought = admit(sale.id, owner.id, Kind.PURCHASE, 1).ticket
        held = admit(sale.id, owner.id, Kind.RESERVATION, 1).ticket
        settle_turn(sale.id)
        assert not redis_client().exists(rediskeys.awake(sale.id))
        return {
            "category_id": category.id,
            "product_id": product.id,
            "sale_id": sale.id,
            "ticket": bought,
            "purchase_id": f"{sale.id}-{held}",
            "user_id": owner.id,
        }

    return stock
