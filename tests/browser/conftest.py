"""A whole shop and a real browser: Debian's Chromium, driven by Playwright.

Without a browser these tests are skipped, and say so; with REQUIRE_BROWSER=1 they fail.
"""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)
from sqlalchemy import func, select

from models.database import transaction
from models.passwords import hash_password
from models.purchase import Purchase
from models.sale import FlashSale
from ops.throwaway_shop import ThrowawayShop, throwaway_shop
from tests.conftest import empty_stores

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PASSWORD = "customer123"
WAIT_MS = 60_000

# What a browser complains of while its network is cut.
OFFLINE = r"ERR_INTERNET_DISCONNECTED|ERR_NETWORK_CHANGED|ERR_ABORTED|WebSocket connection"

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    found = CHROMIUM if os.access(CHROMIUM, os.X_OK) else shutil.which("chromium")
    if found:
        return found
    words = "there is no Chromium here: apt-get install chromium (see the README, Tests)"
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(words)
    pytest.skip(words)


# Of a module: while Playwright is there, its event loop is this thread's, and no other test can run one.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    # Chromium's sandbox refuses to be started by root, as it is in a container.
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def shop(chromium: str, servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThrowawayShop]:
    """The shop of a module: other modules empty the stores under a shop's feet."""
    empty_stores()
    free = {"RATE_LIMIT_EXEMPT": "127.0.0.0/8", "LOG_LEVEL": "WARNING"}
    # A browser, a shop and other tests share the machine: what is slow for a moment is not away.
    free |= {"REDIS_TIMEOUT_SECONDS": "10", "DATABASE_CONNECT_SECONDS": "10"}
    with pytest.MonkeyPatch.context() as patch, throwaway_shop_with(patch, free, tmp_path_factory) as running:
        yield running


def throwaway_shop_with(patch: pytest.MonkeyPatch, variables: dict[str, str], paths: pytest.TempPathFactory) -> Any:
    for name, value in variables.items():
        patch.setenv(name, value)
    return throwaway_shop(paths.mktemp("shop"))


@pytest.fixture
def store(shop: ThrowawayShop, servers: Any) -> Any:
    """As it was: the running shop keeps its own things in it, so each test makes users and sales of its own."""
    return servers


class Visitor:
    """Somebody with a browser of their own, and all that went wrong in it."""

    def __init__(self, context: BrowserContext, shop: ThrowawayShop) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.shop = shop
        self.wrong: list[str] = []
        self._hosts = (f"127.0.0.1:{shop.port}", f"127.0.0.1:{shop.live_port}")
        context.on("request", self._see_request)
        context.on("console", self._see_console)
        context.on("weberror", lambda error: self.wrong.append(str(error.error)))
        self.page.on("websocket", lambda socket: self._see_address(socket.url))

    def _see_request(self, request: Request) -> None:
        self._see_address(request.url)

    def _see_address(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")) and not re.match(rf"(http|ws)://({'|'.join(self._hosts)})/", url):
            self.wrong.append(f"asked {url}")

    def _see_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text} {message.location}")

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.shop.url}{path}")
        return self.page

    def log_in(self, email: str, then: str = "/") -> Page:
        self.open(f"/login?next={then}")
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.shop.url}{then}")
        return self.page

    @contextmanager
    def asks_nothing(self, path: str) -> Iterator[None]:
        """What this page asks of addresses that match has no answer meanwhile: whatever it shows, it was told."""
        held: list[Route] = []
        pattern = re.compile(path)

        def hold(route: Route) -> None:
            held.append(route)

        self.page.route(pattern, hold)
        yield
        self.page.unroute(pattern)
        for route in held:
            route.continue_()

    def is_allowed(self, pattern: str) -> None:
        """What went wrong on purpose, such as a request without a network, is no fault."""
        self.wrong = [line for line in self.wrong if not re.search(pattern, line)]


@pytest.fixture
def visit(browser: Browser, shop: ThrowawayShop) -> Iterator[Callable[..., Visitor]]:
    """visit(viewport=…, …) -> a Visitor; afterwards no browser has complained, and none has asked another host."""
    visitors: list[Visitor] = []

    def arrive(**options: Any) -> Visitor:
        context = browser.new_context(**({"locale": "en-US", "timezone_id": "Europe/Zurich"} | options))
        context.set_default_timeout(WAIT_MS)
        visitors.append(Visitor(context, shop))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.wrong for visitor in visitors if visitor.wrong] == []


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def buyer(make_user: Callable[..., Any], password_hash: str, visit: Callable[..., Visitor]) -> Callable[..., Visitor]:
    """buyer("/sales/7", …) -> a Visitor with an account of their own, logged in, on that page."""

    def arrive(path: str = "/", **options: Any) -> Visitor:
        visitor = visit(**options)
        visitor.log_in(make_user(password_hash=password_hash).email, path)
        return visitor

    return arrive


@pytest.fixture
def operator(
    make_user: Callable[..., Any], password_hash: str, visit: Callable[..., Visitor]
) -> Callable[..., Visitor]:
    """operator("/admin", …) -> a Visitor who is an admin, logged in, on that page."""

    def arrive(path: str = "/admin", **options: Any) -> Visitor:
        visitor = visit(**options)
        visitor.log_in(make_user(role="admin", name="Olga", password_hash=password_hash).email, path)
        return visitor

    return arrive


@pytest.fixture
def worker_may_rest(shop: ThrowawayShop) -> Iterator[Callable[[bool], None]]:
    """worker_may_rest(True): the worker is stopped, so that a line forms; False: it goes on."""
    yield lambda rests: shop.signal("worker", signal.SIGSTOP if rests else signal.SIGCONT)
    shop.signal("worker", signal.SIGCONT)


@pytest.fixture
def worker_is_away(worker_may_rest: Callable[[bool], None]) -> Callable[[], None]:
    """The worker is stopped from here on; call this to let it go on."""
    worker_may_rest(True)
    return lambda: worker_may_rest(False)


def button(visitor: Visitor, name: str) -> Locator:
    """A button of the page that stands there, whose scripts have run: before that it does what it does without."""
    visitor.page.wait_for_load_state("domcontentloaded")
    return visitor.page.get_by_role("button", name=name, exact=True)


def sees(visitor: Visitor, words: str) -> None:
    expect(visitor.page.get_by_text(words, exact=True)).to_be_visible()


def purchases_in(sale: FlashSale) -> int:
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(Purchase).where(Purchase.sale_id == sale.id))
