"""`make screenshots`: take the pictures in docs/screenshots, of a whole shop that lives as long as that takes."""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from alembic import command
from alembic.config import Config
from playwright.sync_api import Browser, Page, sync_playwright

from models.accounts import create_account
from models.clock import now
from models.database import database_now, transaction
from models.gate import admit
from models.product import Category, Product
from models.purchase import Kind
from models.redisclient import gate_client
from models.sale_queries import snapshots_of
from models.sales import NewSale, create_sale
from models.settings import settings
from models.user import Role, User
from ops.errors import OpsError
from ops.throwaway import embedded_postgres, embedded_valkey
from ops.throwaway_shop import ThrowawayShop, throwaway_shop
from web.wake import waker

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "screenshots"
DESK = {"width": 1200, "height": 860}
PHONE = {"width": 390, "height": 844}
WAIT_MS = 20_000
SETTLE_SECONDS_MAX = 30
SHOE = "/static/shoe.svg"
# How many buy from one point of the desk's charts to the next.
DESK_CROWDS = (1, 3, 6, 2, 9, 4, 5, 1)
POINT_MS = 1_000
CROWD = ("Mira", "Jonas", "Aiko", "Tariq", "Lena", "Owen", "Chidi")


@dataclass(frozen=True)
class Stage:
    """What the pictures show: a shop with its sales, and a buyer and an admin who can log in."""

    shop: ThrowawayShop
    browser: Browser
    password: str
    live: int
    upcoming: int


@contextmanager
def a_shop() -> Iterator[ThrowawayShop]:
    with (
        tempfile.TemporaryDirectory() as logs,
        embedded_postgres() as postgres,
        embedded_valkey() as valkey,
    ):
        os.environ |= {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "JWT_SECRET_KEY": secrets.token_urlsafe(32),
            "ENVIRONMENT": "development",
            "LOG_LEVEL": "WARNING",
            "RATE_LIMIT_EXEMPT": "127.0.0.0/8",
        }
        settings.cache_clear()
        command.upgrade(Config(toml_file=str(ROOT / "pyproject.toml")), "head")
        with throwaway_shop(Path(logs)) as shop:
            yield shop
        gate_client().close()


def furnish(shop: ThrowawayShop, browser: Browser) -> Stage:
    """Accounts, products and sales: one live, one next, one over."""
    password = secrets.token_urlsafe(12)
    create_account("Kim Keller", "kim@shop.example", password, Role.CUSTOMER)
    create_account("Ada Admin", "ada@shop.example", password, Role.ADMIN)
    live = _sale("Doorbuster One: half price", "Doorbuster One", timedelta(0), 200, shelf="Shoes", image=SHOE)
    upcoming = _sale("Trail Kettle, 300 pieces", "Trail Kettle", timedelta(minutes=4), 300, shelf="Kitchen")
    _sale("Night Lamp, last ones", "Night Lamp", timedelta(hours=5), 40, shelf="Lamps")
    gone = _sale("Rain Jacket: three only", "Rain Jacket", timedelta(0), 3, shelf="Jackets")
    _let_buy(live, len(CROWD))
    _let_buy(gone, 2)
    _wait_until_settled({live: len(CROWD), gone: 2})
    return Stage(shop, browser, password, live, upcoming)


def _sale(title: str, name: str, opens_in: timedelta, units: int, *, shelf: str, image: str = "") -> int:
    with transaction() as session:
        product = Product(
            name=name,
            slug=name.lower().replace(" ", "-"),
            description="The one that everybody wants and few will get.\n\nMade to last, and sold in a minute.",
            price=Decimal("120.00"),
            currency="USD",
            images=[image] if image else [],
            category=Category(name=shelf, slug=shelf.lower()),
        )
        session.add(product)
        session.flush()
        starts_at = database_now(session) + opens_in
    new = NewSale(
        product_id=product.id,
        title=title,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(hours=2),
        flash_price=Decimal("60.00"),
        total_stock=units,
        featured=bool(image),
        max_per_purchase=3,
        hold_seconds=600,
    )
    return create_sale(new, actor_id=None)


def _let_buy(sale_id: int, buyers: int) -> None:
    for number in range(buyers):
        with transaction() as session:
            name = CROWD[number % len(CROWD)]
            user = User(name=name, email=f"{name.lower()}-{sale_id}-{secrets.token_hex(4)}@shop.example")
            session.add(user)
        if admit(sale_id, user.id, Kind.PURCHASE, 1 + number % 3).wake:
            waker().wake(sale_id, dedicated=False)


def _wait_until_settled(tickets: dict[int, int]) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while any(sale.settled_through < tickets[sale.sale_id] for sale in snapshots_of(list(tickets))):
        if time.monotonic() > deadline:
            raise OpsError("the lines are not settled")
        time.sleep(0.2)


def take(stage: Stage) -> None:
    """All the pictures, each in the light and the dark, on a desk and on a phone where it differs."""
    for scheme in ("light", "dark"):
        with _page(stage, scheme, DESK) as page:
            page.goto(f"{stage.shop.url}/")
            page.get_by_text("left").first.wait_for()
            _shoot(page, f"home-{scheme}")
            page.goto(f"{stage.shop.url}/signup")
            _shoot(page, f"signup-{scheme}")
        with _page(stage, scheme, DESK, "kim@shop.example") as page:
            _buy(stage, page)
            _shoot(page, f"sale-{scheme}")
            page.goto(f"{stage.shop.url}/account")
            _shoot(page, f"account-{scheme}")
    with _page(stage, "light", PHONE) as page:
        page.goto(f"{stage.shop.url}/")
        _shoot(page, "home-phone")
    with _page(stage, "dark", PHONE, "kim@shop.example") as page:
        page.goto(f"{stage.shop.url}/sales/{stage.upcoming}")
        page.get_by_role("button", name="Buy").click()
        page.get_by_text("Ready", exact=True).wait_for()
        _shoot(page, "next-phone")
    _shoot_line(stage)


def take_desk(stage: Stage) -> None:
    """The operators' desk while people buy, and the report of the sale."""
    for scheme in ("light", "dark"):
        with _page(stage, scheme, DESK, "ada@shop.example") as page:
            page.goto(f"{stage.shop.url}/admin/sales/{stage.live}/desk")
            page.get_by_text("All is well").wait_for()
            for crowd in DESK_CROWDS:
                _let_buy(stage.live, crowd)
                # A point of the charts.
                page.wait_for_timeout(POINT_MS)
            page.locator("[data-number=waiting]:text-is('0')").wait_for()
            _shoot(page, f"desk-{scheme}")
            page.goto(f"{stage.shop.url}/admin/sales/{stage.live}/report")
            _shoot(page, f"report-{scheme}")


def _buy(stage: Stage, page: Page) -> None:
    """Whatever the buyer has already, a purchase and a hold more."""
    page.goto(f"{stage.shop.url}/sales/{stage.live}")
    for name in ("Buy", "Reserve"):
        page.locator(f".buy button:not([aria-disabled]):text-is('{name}')").click()
        page.locator("[data-purchase=pending]").wait_for(state="detached")
    page.get_by_role("row", name="You").first.wait_for()
    page.locator(".buy button:not([aria-disabled])").first.wait_for()


def _shoot_line(stage: Stage) -> None:
    """In line: the worker is away for as long as the picture takes."""
    stage.shop.signal("worker", signal.SIGSTOP)
    try:
        _let_buy(stage.live, 12)
        with _page(stage, "light", PHONE, "ada@shop.example") as page:
            page.goto(f"{stage.shop.url}/sales/{stage.live}")
            page.get_by_role("button", name="Buy").click()
            page.get_by_text("ahead of you").wait_for()
            _shoot(page, "line-phone")
    finally:
        stage.shop.signal("worker", signal.SIGCONT)


@contextmanager
def _page(stage: Stage, scheme: str, viewport: dict[str, int], email: str | None = None) -> Iterator[Page]:
    context = stage.browser.new_context(
        viewport=viewport, color_scheme=scheme, locale="en-US", device_scale_factor=1.5, reduced_motion="reduce"
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    if email:
        page.goto(f"{stage.shop.url}/login")
        page.get_by_label("Email").fill(email)
        page.get_by_label("Password").fill(stage.password)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="Log out").wait_for()
    yield page
    context.close()


def _shoot(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
    print(f"{name}.png", flush=True)


# What every set of pictures is taken of; the operators' pages add theirs here.
SETS: list[Callable[[Stage], None]] = [take, take_desk]


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise OpsError("there is no chromium: make browser")
    PICTURES.mkdir(parents=True, exist_ok=True)
    began = now()
    arguments = ["--disable-gpu", "--hide-scrollbars", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with a_shop() as shop, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        stage = furnish(shop, browser)
        for each in SETS:
            each(stage)
        browser.close()
    print(f"{len(list(PICTURES.glob('*.png')))} pictures in {(now() - began).total_seconds():.0f} s")


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
