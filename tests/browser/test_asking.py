"""What cannot be taken back is asked first: in a dialog, or in a page where there are no scripts."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn
from tests.browser.conftest import button
from tests.browser.test_everybody import PHONE, WCAG


def dialog(visitor):
    return visitor.page.get_by_role("dialog")


def test_the_harmless_answer_has_the_focus_and_nothing_is_done_by_it(operator, make_sale, sale_row):
    sale = make_sale(title="Half price")
    olga = operator(f"/admin/sales/{sale.id}/desk")
    keys = olga.page.keyboard

    for back in (lambda: keys.press("Enter"), lambda: keys.press("Escape"), button(olga, "Back").click):
        button(olga, "End").focus()
        keys.press("Enter")
        expect(dialog(olga)).to_have_accessible_name("End Half price?")
        expect(dialog(olga)).to_have_accessible_description(re.compile("nothing more of it is sold"))
        expect(button(olga, "Back")).to_be_focused()
        back()
        expect(dialog(olga)).to_have_count(0)
        expect(button(olga, "End")).to_be_focused()

    assert (sale_row(sale.id).state, sale_row(sale.id).revision) == ("live", sale.revision)


def test_the_tab_key_stays_among_the_answers(operator, make_sale):
    olga = operator(f"/admin/sales/{make_sale().id}/desk")
    button(olga, "End").click()
    expect(button(olga, "Back")).to_be_focused()

    seen = set()
    for _ in range(6):
        olga.page.keyboard.press("Tab")
        seen.add(olga.page.evaluate("document.activeElement.innerText"))

    # Past the last answer the focus goes to the browser's own buttons, which a page sees as its body.
    assert {each for each in seen if len(each) < 20} == {"Back", "End the sale"}


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, PHONE])
def test_a_dialog_is_for_everybody(operator, make_sale, options):
    sale = make_sale()
    olga = operator(f"/admin/sales/{sale.id}", **options)
    button(olga, "Restart").click()
    expect(dialog(olga)).to_be_visible()

    found = Axe().run(olga.page, options={"runOnly": {"type": "tag", "values": list(WCAG)}})
    box, width = dialog(olga).bounding_box(), olga.page.viewport_size["width"]

    assert found.violations_count == 0, found.generate_report()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def test_a_refund_and_a_rule_for_addresses_are_asked_for_with_what_was_typed(operator, make_sale, sale_row):
    sale = make_sale(total_stock=3)
    admit(sale.id, 1, Kind.PURCHASE, 2)
    settle_turn(sale.id)
    olga = operator(f"/admin/purchases/{sale.id}-1")

    button(olga, "Refund").click()
    expect(dialog(olga)).to_have_count(0)
    olga.page.get_by_label("Why it is taken back").fill("too small")
    button(olga, "Refund").click()
    expect(dialog(olga)).to_contain_text("too small")
    assert sale_row(sale.id).sold == 2
    button(olga, "Refund it").click()
    expect(olga.page.get_by_text("Done. It stands in the log.")).to_be_visible()
    assert sale_row(sale.id).sold == 0

    page = olga.open("/admin/ip-rules/new")
    page.get_by_label("Range").fill("203.0.113.0/24")
    page.get_by_label("What is done").select_option("deny")
    page.get_by_label("Why").fill("bots")
    button(olga, "Create").click()
    expect(dialog(olga)).to_have_accessible_name("Deny 203.0.113.0/24?")
    button(olga, "Deny it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Deny 203.0.113.0/24")
    button(olga, "Delete").click()
    button(olga, "Delete it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("IP rules")
    expect(page.get_by_text("203.0.113.0/24")).to_have_count(0)


def test_without_scripts_the_question_is_a_page(operator, make_sale, sale_row):
    sale = make_sale(title="Half price")
    olga = operator(f"/admin/sales/{sale.id}/desk", java_script_enabled=False)

    button(olga, "End").click()
    expect(olga.page.get_by_role("heading", level=1)).to_have_text("End Half price?")
    olga.page.get_by_role("link", name="Back").click()
    olga.page.wait_for_url(f"{olga.shop.url}/admin/sales/{sale.id}/desk")
    assert sale_row(sale.id).state == "live"
    button(olga, "End").click()
    button(olga, "End the sale").click()

    olga.page.wait_for_url(f"{olga.shop.url}/admin/sales/{sale.id}/desk?done=1")
    assert sale_row(sale.id).state == "ended"


def test_a_question_that_cannot_be_fetched_is_a_page(operator, make_sale):
    sale = make_sale(title="Half price")
    olga = operator(f"/admin/sales/{sale.id}")
    olga.page.route(
        "**/end", lambda route: route.abort() if route.request.resource_type == "fetch" else route.continue_()
    )

    button(olga, "End").click()

    expect(olga.page.get_by_role("heading", level=1)).to_have_text("End Half price?")
    olga.is_allowed("ERR_FAILED")
