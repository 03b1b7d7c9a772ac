"""The operators' desk in a browser: watched, acted on, and felt by buyers within a second."""

import re
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from models.gate import admit
from models.purchase import Kind
from tests.browser.conftest import button
from tests.browser.test_everybody import PHONE, WCAG, fits
from web.wake import waker

SALE = r"/api/flash-sales/\d+$"


def number(visitor, name):
    return visitor.page.locator(f'[data-number="{name}"]')


def buy(sale, users):
    """All are in line before a worker is told: settled earlier, the last of them might find the sale sold out."""
    admitted = [admit(sale.id, user_id, Kind.PURCHASE, 1) for user_id in users]
    if any(each.wake for each in admitted):
        waker().wake(sale.id, dedicated=False)


def test_an_operator_pauses_and_a_buyer_is_told_without_asking(operator, buyer, make_sale):
    sale = make_sale(total_stock=50)
    ann = buyer(f"/sales/{sale.id}")
    olga = operator(f"/admin/sales/{sale.id}/desk")
    expect(ann.page.get_by_text("On sale now", exact=True)).to_be_visible()
    expect(button(olga, "Resume")).to_be_hidden()

    with ann.asks_nothing(SALE):
        button(olga, "Pause").click()
        expect(ann.page.get_by_text(re.compile("^Paused"))).to_be_visible()
    expect(olga.page.get_by_role("status").filter(has_text="Paused")).to_be_visible()
    button(olga, "Resume").click()
    expect(ann.page.get_by_text("On sale now", exact=True)).to_be_visible()
    expect(button(olga, "Pause")).to_be_visible()


def test_the_desk_moves_with_the_sale_and_says_that_all_is_well(operator, make_sale):
    sale = make_sale(total_stock=30)
    olga = operator(f"/admin/sales/{sale.id}/desk")
    expect(olga.page.get_by_text("All is well")).to_be_visible()
    expect(olga.page.get_by_role("row", name=re.compile("settlements"))).to_be_visible()

    buy(sale, range(1, 21))

    expect(number(olga, "sold")).to_have_text("20")
    expect(number(olga, "remaining")).to_have_text("10")
    expect(number(olga, "accepted")).to_have_text("20")
    expect(number(olga, "settled")).to_have_text("20")
    expect(number(olga, "p50")).to_have_text(re.compile(r"\d"))
    expect(number(olga, "audit")).to_have_text("agrees")
    expect(olga.page.locator('[data-chart="accepted"] [data-most]')).to_have_text(re.compile("max [1-9]"))
    assert olga.page.locator('[data-chart="accepted"] polyline').get_attribute("points")


def test_restock_end_and_restart_are_done_in_place(operator, make_sale):
    sale = make_sale(total_stock=3)
    olga = operator(f"/admin/sales/{sale.id}/desk")
    stock = olga.page.get_by_label("Total stock", exact=True)
    buy(sale, range(1, 3))
    expect(number(olga, "sold")).to_have_text("2")

    stock.fill("1")
    button(olga, "Restock").click()
    expect(olga.page.get_by_text("Not done: 2 are sold and 0 held already")).to_be_visible()
    olga.is_allowed("400")
    stock.fill("8")
    button(olga, "Restock").click()
    expect(number(olga, "total")).to_have_text("8")
    button(olga, "Wake").click()
    expect(olga.page.get_by_text("Woken")).to_be_visible()
    button(olga, "End").click()
    button(olga, "End the sale").click()
    expect(olga.page.locator("[data-status]")).to_have_text("Ended")
    expect(button(olga, "Pause")).to_be_hidden()
    button(olga, "Restart").click()
    button(olga, "Restart it").click()
    olga.page.wait_for_url(re.compile(rf"/admin/sales/(?!{sale.id}/)\d+/desk"))

    expect(number(olga, "remaining")).to_have_text("8")
    expect(olga.page.locator("[data-status]")).to_have_text("Live")


def test_a_sale_is_made_and_changed_by_hand(operator, make_product):
    product = make_product(name="Runner")
    olga = operator("/admin/sales/new")
    page = olga.page
    page.get_by_label("Title").fill("Runner, half price")
    page.get_by_label("Product (its id)").fill(str(product.id))
    page.get_by_label("Flash price").fill("149.99")
    page.get_by_label("Starts (UTC)").fill("2030-01-01T18:00:00")
    button(olga, "Create").click()
    expect(page.get_by_text("Must be below the product's price of 99.99")).to_be_visible()
    olga.is_allowed("400")
    expect(page.get_by_label("Title")).to_have_value("Runner, half price")
    page.get_by_label("Flash price").fill("49.99")
    button(olga, "Create").click()
    expect(page.get_by_role("status").filter(has_text="Done")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Runner, half price")

    page.get_by_label("Total stock").fill("77")
    button(olga, "Save").click()

    expect(page.get_by_role("status").filter(has_text="Done")).to_be_visible()
    expect(page.get_by_label("Total stock")).to_have_value("77")
    olga.open("/admin/log")
    expect(page.get_by_role("row", name=re.compile("Olga.*sales.patch")).first).to_be_visible()


def test_a_desk_without_a_network_says_so_and_comes_back_by_itself(operator, make_sale):
    sale = make_sale(total_stock=5)
    olga = operator(f"/admin/sales/{sale.id}/desk")
    expect(olga.page.get_by_text("All is well")).to_be_visible()

    olga.context.set_offline(True)
    expect(olga.page.get_by_text("No answer from the server")).to_be_visible()
    buy(sale, range(1, 3))
    olga.context.set_offline(False)

    expect(olga.page.get_by_text("All is well")).to_be_visible()
    expect(number(olga, "sold")).to_have_text("2")
    olga.is_allowed("ERR_INTERNET_DISCONNECTED|ERR_NETWORK_CHANGED")


@pytest.fixture
def pages(make_sale):
    """Every page of the desk, of a sale that has sold."""
    sale = make_sale(total_stock=5, lasts=timedelta(hours=1))
    buy(sale, range(1, 8))
    lists = ("sales", "products", "series", "users", "purchases", "movements", "ip-rules", "fraud-records", "log")
    lists += ("categories",)
    new = ("sales", "products", "series", "ip-rules", "categories")
    return (
        "/admin",
        *(f"/admin/{name}" for name in lists),
        *(f"/admin/{name}/new" for name in new),
        *(f"/admin/sales/{sale.id}{page}" for page in ("", "/desk", "/report", "/restart")),
        f"/admin/products/{sale.product_id}",
        f"/admin/purchases?saleId={sale.id}",
        f"/admin/purchases/{sale.id}-1",
        f"/admin/purchases/{sale.id}-1?reason=too+small",
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_desk(operator, pages, scheme):
    olga = operator(color_scheme=scheme)
    for path in pages:
        page = olga.open(path)
        if path.endswith("/desk"):
            expect(page.get_by_text("All is well")).to_be_visible()
        found = Axe().run(page, options={"runOnly": {"type": "tag", "values": list(WCAG)}})
        assert found.violations_count == 0, (path, found.generate_report())


def test_the_desk_fits_on_a_phone(operator, pages):
    olga = operator(**PHONE)

    assert [path for path in pages if not fits(olga.open(path))] == []
