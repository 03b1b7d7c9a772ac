"""For everybody: with a keyboard, a screen reader, a telephone, in the dark, in any locale, and without scripts."""

import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from models.clock import from_ms
from models.gate import admit
from models.purchase import Kind
from models.purchases import purchases_of
from models.settle import settle_turn

WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.fixture
def sales(make_sale, make_product):
    """One live, one next, one paused, one over."""
    product = make_product(name="Runner", description="Light as a feather.\n\nQuick as the wind.")
    return {
        "live": make_sale(
            title="Runner, half price", product_id=product.id, featured=True, max_per_user=3, lasts=timedelta(hours=2)
        ),
        "next": make_sale(title="Walker, soon", opens_in=timedelta(days=1, hours=2)),
        "paused": make_sale(title="Jumper, held back", paused=True),
        "over": make_sale(title="Sitter, gone", total_stock=0, state="ended", end_reason="sold-out"),
    }


def is_accessible(page):
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": list(WCAG)}})
    assert found.violations_count == 0, found.generate_report()


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


# Axe takes its time for each page, and more of it on a machine that others use as well.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(visit, buyer, sales, scheme):
    guest = visit(color_scheme=scheme)
    for path in ("/", "/login", "/signup", "/sales/999999", *(f"/sales/{sale.id}" for sale in sales.values())):
        is_accessible(guest.open(path))
    guest.is_allowed("404")
    guest.page.goto(f"{guest.shop.url}/login")
    guest.page.get_by_label("Email").fill("nobody@shop.test")
    guest.page.get_by_label("Password").fill("wrong")
    guest.page.get_by_role("button", name="Log in").click()
    expect(guest.page.get_by_role("alert")).to_have_text("Wrong e-mail address or password")
    is_accessible(guest.page)
    guest.is_allowed("401")

    ann = buyer(f"/sales/{sales['live'].id}", color_scheme=scheme)
    for name, outcome in (("Buy", "Confirmed"), ("Reserve", "Reserved")):
        expect(ann.page.get_by_role("button", name=name)).to_be_enabled()
        ann.page.get_by_role("button", name=name).click()
        expect(ann.page.get_by_text(outcome, exact=True)).to_be_visible()
    expect(ann.page.get_by_role("row", name="You")).to_be_visible()
    is_accessible(ann.page)
    ann.open(f"/sales/{sales['next'].id}")
    ann.page.get_by_role("button", name="Buy").click()
    expect(ann.page.get_by_text("Ready", exact=True)).to_be_visible()
    is_accessible(ann.page)
    is_accessible(ann.open("/account"))


def test_nothing_has_to_be_scrolled_sideways_on_a_phone(visit, buyer, sales):
    guest = visit(**PHONE)
    for path in ("/", "/login", "/signup", *(f"/sales/{sale.id}" for sale in sales.values())):
        assert fits(guest.open(path)), path

    ann = buyer(f"/sales/{sales['live'].id}", **PHONE)
    ann.page.get_by_role("button", name="Reserve").tap()
    expect(ann.page.get_by_role("button", name="Check out")).to_be_visible()
    expect(ann.page.get_by_role("row", name="You")).to_have_count(0)
    assert fits(ann.page)
    assert fits(ann.open("/account"))


def test_everything_can_be_done_with_the_keyboard_alone(visit, sales, make_user, password_hash):
    user = make_user(password_hash=password_hash)
    ann = visit()
    page = ann.open(f"/sales/{sales['live'].id}")
    keys = page.keyboard

    def tab_to(name):
        for _ in range(30):
            keys.press("Tab")
            focused = page.evaluate("document.activeElement.innerText || document.activeElement.name")
            if focused and focused.strip() == name:
                return
        pytest.fail(f"no way to {name} with the Tab key")

    keys.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    keys.press("Enter")
    tab_to("Buy")
    keys.press("Enter")
    page.wait_for_url(re.compile("/login"))
    tab_to("email")
    keys.type(user.email)
    keys.press("Tab")
    keys.type("customer123")
    keys.press("Enter")
    page.wait_for_url(f"{ann.shop.url}/sales/{sales['live'].id}")
    tab_to("quantity")
    keys.press("ArrowUp")
    tab_to("Reserve")
    keys.press("Enter")
    expect(page.get_by_role("button", name="Check out")).to_be_visible()
    tab_to("Check out")
    keys.press("Space")

    expect(page.get_by_text("Confirmed", exact=True)).to_be_visible()
    expect(page.get_by_text("2 units for $99.98")).to_be_visible()


def test_a_screen_reader_is_told_what_happens_and_not_every_tick(buyer, sales):
    ann = buyer(f"/sales/{sales['live'].id}")
    page = ann.page

    expect(page.get_by_role("heading", level=1)).to_have_text("Runner, half price")
    expect(page.get_by_role("progressbar", name="Units left")).to_be_visible()
    # A timer is a live region that is off unless it says otherwise (WAI-ARIA 1.2, timer).
    assert page.get_by_role("timer").first.get_attribute("aria-live") is None
    expect(page.locator("[data-requests]")).to_have_attribute("aria-live", "polite")
    expect(page.locator("[data-notice]")).to_have_role("status")
    page.get_by_role("button", name="Buy").click()
    expect(page.get_by_role("listitem").filter(has_text="Confirmed")).to_contain_text("Ticket")


def test_money_and_times_are_written_as_the_visitor_writes_them(visit, sales):
    german = visit(locale="de-DE", timezone_id="Europe/Berlin")
    page = german.open(f"/sales/{sales['live'].id}")
    expect(page.get_by_text("49,99 $")).to_be_visible()

    american = visit(locale="en-US", timezone_id="America/New_York")
    expect(american.open(f"/sales/{sales['live'].id}").get_by_text("$49.99")).to_be_visible()


def test_the_pages_can_be_read_without_scripts(visit, sales, make_user, password_hash):
    user = make_user(name="Ann", password_hash=password_hash)
    ann = visit(java_script_enabled=False)
    page = ann.log_in(user.email, "/account")
    expect(page.get_by_role("heading", name="Ann")).to_be_visible()

    ann.open("/")
    page.locator(f"a[href='/sales/{sales['live'].id}']").click()

    expect(page.get_by_text("200 left")).to_be_visible()
    expect(page.get_by_text(re.compile("49.99.USD"))).to_be_visible()
    # A browser that was only told not to run scripts shows no <noscript>.
    assert "Buying needs JavaScript" in page.content()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in")).to_be_visible()


# The rules in force, for this visitor, that make something move.
MOVING = """() => {
    const moves = ({ style }) => style && (/[1-9]/.test(style.transitionDuration) || style.animationName
        || style.scrollBehavior === "smooth");
    const applies = ({ conditionText }) => conditionText === undefined || matchMedia(conditionText).matches;
    const inForce = ({ cssRules }) =>
        [...cssRules].filter(applies).flatMap((rule) => (rule.conditionText ? inForce(rule) : [rule]));
    return [...document.styleSheets].flatMap(inForce).filter(moves).map((rule) => rule.cssText);
}"""


def test_whoever_asked_for_less_motion_sees_none(visit, operator, sales):
    path = f"/sales/{sales['live'].id}"

    assert visit(reduced_motion="reduce").open(path).evaluate(MOVING) == []
    assert operator(reduced_motion="reduce").page.evaluate(MOVING) == []
    # And for the others something moves, so the look finds it.
    assert visit(reduced_motion="no-preference").open(path).evaluate(MOVING) != []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_as_dark_as_the_visitors_system(visit, operator, sales, scheme):
    brightness = "() => Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number))"
    guest, olga = visit(color_scheme=scheme), operator(color_scheme=scheme)

    pages = [guest.open(path).evaluate(brightness) for path in ("/", f"/sales/{sales['live'].id}", "/login")]
    pages.append(olga.page.evaluate(brightness))

    assert all(page < 64 for page in pages) if scheme == "dark" else all(page > 192 for page in pages), pages


def test_times_are_the_visitors_own(visit, sales, make_user, password_hash):
    user = make_user(password_hash=password_hash)
    admit(sales["live"].id, user.id, Kind.PURCHASE, 2)
    settle_turn(sales["live"].id)
    [bought] = purchases_of(user.id, 1)
    german = from_ms(bought.admitted_ms).astimezone(ZoneInfo("Europe/Berlin"))
    american = from_ms(bought.admitted_ms).astimezone(ZoneInfo("America/New_York"))
    half = "AM" if american.hour < 12 else "PM"

    row = visit(locale="de-DE", timezone_id="Europe/Berlin").log_in(user.email, "/account").get_by_role("row").last
    expect(row).to_contain_text(f"{german:%d.%m.%Y, %H:%M}")
    expect(row).to_contain_text(re.compile(r"99,98\s\$"))

    row = visit(locale="en-US", timezone_id="America/New_York").log_in(user.email, "/account").get_by_role("row").last
    clock = rf"{american:%b} {american.day}, {american.year}, {american.hour % 12 or 12}:{american:%M}\s{half}"
    expect(row).to_contain_text(re.compile(clock))
    expect(row).to_contain_text("$99.98")
