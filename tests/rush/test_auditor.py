"""The auditor: reads the books of a shop that was killed a moment ago, and says so where there is nothing to read."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from models.clock import now
from models.database import transaction
from models.purchase import Purchase
from models.settings import Settings, settings
from models.user import User
from ops import demo
from ops.buyers import Buyer
from ops.rush.auditor import Auditor
from ops.rush.sales import RushSale
from ops.rush.shop import Shop
from ops.rush.verdict import SaleBooks

SALE = RushSale(1, 200, opens_at=0.0, asked_at=0.0, clock_ahead_seconds=0.0)
CHECKS = [{"name": name, "recorded": 200, "counted": 200, "agrees": True} for name in ("sold", "totalStock")]


@pytest.fixture
def known(store: object) -> Settings:
    """The settings of a demo."""
    demo.seed()
    return settings().model_copy(update={"environment": "demo"})


async def read_books(known: Settings, *, failures: int, crowd: list[Buyer]) -> SaleBooks | None:
    """The books of sale 1, from a shop that breaks down so many times before it answers."""
    left = failures

    async def audit(_: web.Request) -> web.Response:
        nonlocal left
        left -= 1
        if left >= 0:
            return web.Response(status=503)
        return web.json_response({"data": {"saleId": "1", "agrees": True, "checks": CHECKS, "unitsByStatus": {}}})

    app = web.Application()
    app.router.add_get("/api/flash-sales/1/audit", audit)
    async with TestServer(app) as server, Shop(str(server.make_url("")).rstrip("/"), connections=2) as shop:
        return await Auditor(shop, known, "an admin's token", crowd).books(SALE)


def test_the_books_of_a_shop_that_is_coming_back_are_read_when_it_is_there(known: Settings) -> None:
    books = asyncio.run(read_books(known, failures=2, crowd=[]))

    assert books == SaleBooks(sale_id=1, total_stock=200, sold=200, agrees=True)


def test_the_books_of_a_database_that_stays_away_cannot_be_had(
    known: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.rush.auditor.BOOKS_SECONDS_MAX", 0.3)
    away = known.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})

    assert asyncio.run(read_books(away, failures=0, crowd=[])) is None


def test_what_others_bought_is_told_apart_from_what_the_crowd_bought(
    known: Settings, make_user: Callable[..., User], buy: Callable[[int, int], None]
) -> None:
    somebody, one_of_us = make_user(), make_user()
    for user in (somebody, one_of_us):
        buy(SALE.sale_id, user.id)

    books = asyncio.run(read_books(known, failures=0, crowd=[Buyer(one_of_us.id, "token")]))

    assert books is not None
    assert books.sold_to_others == 2


@pytest.fixture
def buy(store: object) -> Callable[[int, int], None]:
    """buy(sale id, user id): two units, as settle writes them down."""

    def write(sale_id: int, user_id: int) -> None:
        moment = now()
        with transaction() as session:
            session.add(
                Purchase(
                    sale_id=sale_id,
                    ticket=user_id,
                    user_id=user_id,
                    kind="purchase",
                    quantity=2,
                    status="confirmed",
                    currency="USD",
                    nonce=str(user_id),
                    admitted_at=moment,
                    settled_at=moment,
                    revision=1,
                )
            )

    return write
