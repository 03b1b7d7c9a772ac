"""Real servers for every test process, and the few things that nearly every test needs.

Each xdist worker starts a PostgreSQL and a Valkey of its own; a test that asks for `store` finds both empty.
"""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from models import rediskeys
from models.announce import announce
from models.database import engine, transaction
from models.gateline import gate_lines
from models.movement import MovementKind, StockMovement
from models.product import Product
from models.redisclient import gate_client, redis_client
from models.sale import FlashSale, SaleState
from models.settings import Settings, settings
from models.snapshot import SaleSnapshot
from models.tables import metadata
from models.user import User
from ops.postgres import EmbeddedPostgres
from ops.throwaway import embedded_postgres, embedded_valkey
from ops.valkey import EmbeddedValkey

ROOT = Path(__file__).parent.parent
# An example that is held up by everything else on a machine says nothing about the code; each test has its own bound.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")
numbers = count(1)
# Deleting the few rows of a test takes 6 ms, cutting off every table and index 80. Where one has grown beyond this they
# are cut off, dead rows and all. Both wait for whoever is still writing.
SMALL_TABLE_BYTES = 256 * 1024
EMPTY = """
    DO $$ BEGIN
        IF EXISTS (
            SELECT FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            AND pg_relation_size(oid) > {small}
        ) THEN
            TRUNCATE {tables} RESTART IDENTITY;
        ELSE
            LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE;
            SET LOCAL session_replication_role = replica;  -- in any order
            {deletes}
            PERFORM setval(seqrelid::regclass, seqstart, false) FROM pg_sequence;
        END IF;
    END $$
"""


@dataclass(frozen=True)
class Servers:
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this test process, migrated, with the settings of this process pointing at them."""
    # A developer's own .env must not reach the tests.
    Settings.model_config["env_file"] = None
    with embedded_postgres() as postgres, embedded_valkey() as valkey:
        os.environ |= {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "JWT_SECRET_KEY": "a key for tests alone, of forty characters",
            "ENVIRONMENT": "development",
            "LOG_LEVEL": "WARNING",
        }
        settings.cache_clear()
        command.upgrade(Config(toml_file=str(ROOT / "pyproject.toml")), "head")
        yield Servers(postgres, valkey)
        # Threads that serve this process for its life, such as the reader of the news, outlive its servers.
        logging.disable()
        engine().dispose()
        redis_client().close()
        gate_client().close()
        gate_lines().close()


@pytest.fixture
def store(servers: Servers) -> Servers:
    """Both servers, empty."""
    empty_stores()
    # What a test that ends a server leaves behind here is a closed connection, which the gate would ask only once.
    gate_lines().close()
    return servers


def empty_stores() -> None:
    """No row and no key is left, and the next id is 1."""
    deletes = " ".join(f"DELETE FROM {table};" for table in metadata.tables)  # noqa: S608 - our own names
    with transaction() as session:
        session.execute(text(EMPTY.format(small=SMALL_TABLE_BYTES, tables=", ".join(metadata.tables), deletes=deletes)))
    redis_client().flushall()


@pytest.fixture
def change_settings(store: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """change_settings(ALLOW_ADMIN_SIGNUP="true"): the settings of this process, until the test ends."""

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield change
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def make_user(store: Servers) -> Callable[..., User]:
    """make_user(role="customer", name=…, email=…, password_hash=…) -> User"""

    def make(role: str = "customer", **fields: Any) -> User:
        number = next(numbers)
        values = {"name": f"Buyer {number}", "email": f"buyer{number}@example.com", "role": role} | fields
        with transaction() as session:
            user = User(**values)
            session.add(user)
        return user

    return make


@pytest.fixture
def make_product(store: Servers) -> Callable[..., Product]:
    """make_product(price=Decimal("99.99"), …) -> Product"""

    def make(**fields: Any) -> Product:
        number = next(numbers)
        values = {"name": f"Shoe {number}", "slug": f"shoe-{number}", "price": Decimal("99.99")} | fields
        with transaction() as session:
            product = Product(**values)
            session.add(product)
        return product

    return make


@pytest.fixture
def make_sale(make_product: Callable[..., Product]) -> Callable[..., FlashSale]:
    """make_sale(total_stock=200, opens_in=timedelta(0), lasts=None, …) -> FlashSale, announced to the gate."""

    def make(
        *, total_stock: int = 200, opens_in: timedelta = timedelta(0), lasts: timedelta | None = None, **fields: Any
    ) -> FlashSale:
        product_id = fields.pop("product_id", None) or make_product().id
        with transaction() as session:
            now = session.scalar(text("SELECT now()"))
            starts_at = now + opens_in
            values = {
                "title": "A sale",
                "product_id": product_id,
                "original_price": Decimal("99.99"),
                "flash_price": Decimal("49.99"),
                "currency": "USD",
                "starts_at": starts_at,
                "ends_at": starts_at + lasts if lasts else None,
                "state": SaleState.LIVE if opens_in <= timedelta(0) else SaleState.SCHEDULED,
                "hold_seconds": 600,
                "total_stock": total_stock,
            }
            sale = FlashSale(**values | fields)
            session.add(sale)
            session.flush()
            session.add(
                StockMovement(
                    sale_id=sale.id, kind=MovementKind.INITIAL, quantity=total_stock, reason="the sale was made"
                )
            )
            session.refresh(sale)
        announce(SaleSnapshot.of(sale))
        return sale

    return make


@pytest.fixture
def sale_row(store: Servers) -> Callable[[int], FlashSale]:
    """sale_row(id) -> the sale as PostgreSQL has it now."""

    def read(sale_id: int) -> FlashSale:
        with transaction() as session:
            return session.get_one(FlashSale, sale_id)

    return read


@pytest.fixture
def waiting(store: Servers) -> Callable[[int], int]:
    """waiting(sale id) -> how many requests wait in its mailbox."""
    return lambda sale_id: int(redis_client().xlen(rediskeys.mailbox(sale_id)))
