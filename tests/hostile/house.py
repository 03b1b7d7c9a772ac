"""The real house that the noise is made at: processes, servers, a shop with something to sell, and one sound buyer."""

import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from models.announce import announce
from models.audit import audit_sale
from models.database import engine, transaction
from models.movement import MovementKind, StockMovement
from models.product import Product
from models.redisclient import gate_client, redis_client
from models.sale import FlashSale, SaleState
from models.settings import Settings, settings
from models.snapshot import SaleSnapshot
from models.tokens import issue_access_token
from models.user import Role, User
from ops.launch import raise_open_files
from ops.throwaway import embedded_postgres, embedded_valkey
from ops.throwaway_shop import ThrowawayShop, throwaway_shop
from tests.hostile.oracle import Watch
from tests.hostile.wire import ask

ROOT = Path(__file__).parent.parent.parent
SETTINGS = {
    "ENVIRONMENT": "development",
    "BROKER_URL": "",
    "LOG_LEVEL": "WARNING",
    # Noise from this machine is heard out; where it names another address, that one is limited.
    "RATE_LIMIT_EXEMPT": "127.0.0.0/8",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "WAIT_SECONDS_MAX": "1",
}
BUYERS = 50
UNITS = 1_000_000
# The ids of what the sound buyer needs, where no made-up id ever falls.
QUIET_IDS = 700_000_000
PATIENCE_SECONDS = 120
TOKEN_LIFETIME = timedelta(days=1)


@dataclass(slots=True)
class House:
    """A running shop. `sale_id` is for the noise; `quiet_sale_id` is known to the sound buyer alone."""

    shop: ThrowawayShop
    watch: Watch
    sale_id: int
    product_id: int
    quiet_sale_id: int
    tokens: list[str]
    admin_token: str
    bought: int = 0
    disappointed: list[str] = field(default_factory=list)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ports(self) -> tuple[int, int]:
        """Of web and of live: both answer HTTP, with different servers below the same application."""
        return self.shop.port, self.shop.live_port

    def buy_soundly(self) -> None:
        """What a buyer does amid the noise; that they did not get their unit is told at the end."""
        with self._one_at_a_time:
            self._buy()

    def _buy(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        key = secrets.token_urlsafe(12)
        last = ""
        while time.monotonic() < end:
            has_bought, last = self.try_to_buy(self.quiet_sale_id, key)
            if has_bought:
                self.bought += 1
                return
            if last[:3] not in ("", "202", "503"):
                break
            time.sleep(0.1)
        self.disappointed.append(f"a sound buyer has no unit: {last}")

    def try_to_buy(self, sale_id: int, key: str | None = None) -> tuple[bool, str]:
        """Ask for a unit, once; whether it was confirmed within a second, and the answer."""
        headers = {
            "Authorization": f"Bearer {self.tokens[0]}",
            "Content-Type": "application/json",
            "Idempotency-Key": key or secrets.token_urlsafe(12),
            "Prefer": "wait=1",
        }
        path = f"/api/flash-sales/{sale_id}/purchases"
        try:
            answer = ask(self.shop.port, "POST", path, headers, b'{"quantity": 1}')
        except OSError:
            return False, ""
        return answer.status == 201, f"{answer.status} {answer.body[:300]!r}"

    def new_sale(self) -> int:
        """One more live sale, of a product of its own."""
        return _make_sale()[0]

    def wrong_at_the_end(self) -> list[str]:
        """Everything that the noise may not have changed."""
        wrong = [*self.disappointed, *self.watch.died()]
        wrong += [
            f"{each.name} grew from {each.before >> 20} to {each.after >> 20} MiB"
            for each in self.watch.growth()
            if not each.is_flat
        ]
        with transaction() as session:
            sale_ids = list(session.scalars(select(FlashSale.id)))
            confirmed = session.get_one(FlashSale, self.quiet_sale_id).sold
        for audit in map(audit_sale, sale_ids):
            differ = [
                f"{check.name} {check.recorded} but {check.counted}" for check in audit.checks if not check.agrees
            ]
            wrong += [f"the audit of sale {audit.sale_id} disagrees: {', '.join(differ)}"] * bool(differ)
        if confirmed != self.bought and not self.disappointed:
            wrong.append(f"the sound buyer bought {self.bought} units, and {confirmed} were sold")
        return wrong


@contextmanager
def open_house(logs: Path) -> Iterator[House]:
    """Start everything on the PostgreSQL and Redis of this process's settings, which are empty."""
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ |= SETTINGS
    settings.cache_clear()
    try:
        with throwaway_shop(logs) as shop:
            yield _furnish(shop)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        settings.cache_clear()


@contextmanager
def house_of_its_own() -> Iterator[House]:
    """A house with servers of its own, for a run outside the tests."""
    raise_open_files()
    Settings.model_config["env_file"] = None
    with ExitStack() as cleanup:
        postgres = cleanup.enter_context(embedded_postgres())
        valkey = cleanup.enter_context(embedded_valkey())
        logs = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="doorbuster-fuzz-")))
        os.environ |= {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        }
        settings.cache_clear()
        command.upgrade(Config(toml_file=str(ROOT / "pyproject.toml")), "head")
        yield cleanup.enter_context(open_house(logs))
        engine().dispose()
        redis_client().close()
        gate_client().close()


def _furnish(shop: ThrowawayShop) -> House:
    with transaction() as session:
        buyers = [User(name=f"Buyer {n}", email=f"buyer{n}@noise.example", role=Role.CUSTOMER) for n in range(BUYERS)]
        admin = User(name="Keeper", email="keeper@noise.example", role=Role.ADMIN)
        session.add_all([*buyers, admin])
        session.flush()
        known = [(user.id, str(user.role)) for user in (*buyers, admin)]
    tokens = [issue_access_token(user_id, role, TOKEN_LIFETIME) for user_id, role in known]
    sale_id, product_id = _make_sale()
    with transaction() as session:
        for table in ("flash_sales", "products"):
            session.execute(text(f"ALTER SEQUENCE {table}_id_seq RESTART WITH {QUIET_IDS}"))
    quiet_sale_id, _ = _make_sale()
    with transaction() as session:
        session.execute(text("ALTER SEQUENCE flash_sales_id_seq RESTART WITH 1000"))
        session.execute(text("ALTER SEQUENCE products_id_seq RESTART WITH 1000"))
    watch = Watch({name: shop.pid(name) for name in shop.names})
    house = House(shop, watch, sale_id, product_id, quiet_sale_id, tokens[:-1], tokens[-1])
    house.buy_soundly()
    return house


def _make_sale() -> tuple[int, int]:
    with transaction() as session:
        product = Product(name="Shoe", slug=secrets.token_hex(8), price=Decimal("99.99"))
        session.add(product)
        session.flush()
        sale = FlashSale(
            title="A sale amid the noise",
            product_id=product.id,
            original_price=Decimal("99.99"),
            flash_price=Decimal("49.99"),
            currency="USD",
            starts_at=session.scalar(text("SELECT now()")),
            state=SaleState.LIVE,
            hold_seconds=600,
            total_stock=UNITS,
        )
        session.add(sale)
        session.flush()
        session.add(
            StockMovement(sale_id=sale.id, kind=MovementKind.INITIAL, quantity=UNITS, reason="the sale was made")
        )
        session.refresh(sale)
        snapshot = SaleSnapshot.of(sale)
        product_id = product.id
    announce(snapshot)
    return snapshot.sale_id, product_id


def json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()
