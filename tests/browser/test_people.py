"""Users at the desk in a browser: made, blocked while they shop, let in again; each is asked about first."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from models.accounts import find_user
from tests.browser.conftest import PASSWORD, button
from tests.browser.test_everybody import PHONE, WCAG, fits

# What a browser writes down when somebody who was blocked goes on asking.
REFUSED = r"status of 40[13]"


@pytest.fixture
def account(make_user, password_hash):
    """account(name="Kim") -> a customer who can log in"""
    return lambda **fields: make_user(password_hash=password_hash, **fields)


def test_an_operator_blocks_a_buyer_who_is_shopping_and_lets_them_in_again(operator, visit, account, make_sale):
    sale, kim = make_sale(total_stock=5), account(name="Kim")
    shopper = visit()
    shopper.log_in(kim.email, f"/sales/{sale.id}")
    expect(button(shopper, "Buy")).to_be_enabled()
    olga = operator(f"/admin/users/{kim.id}")

    button(olga, "Block").click()
    dialog = olga.page.get_by_role("dialog", name="Block Kim?")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Back").click()
    assert find_user(kim.id).blocked_at is None
    button(olga, "Block").click()
    dialog.get_by_role("button", name="Block").click()

    expect(olga.page.get_by_role("status").filter(has_text="Done")).to_be_visible()
    expect(button(olga, "Unblock")).to_be_visible()
    shopper.open("/account")
    expect(shopper.page).to_have_url(re.compile("/login"))
    shopper.page.get_by_label("Email").fill(kim.email)
    shopper.page.get_by_label("Password").fill(PASSWORD)
    button(shopper, "Log in").click()
    expect(shopper.page.get_by_text("This account is blocked")).to_be_visible()
    shopper.is_allowed(REFUSED)

    button(olga, "Unblock").click()
    olga.page.get_by_role("dialog").get_by_role("button", name="Unblock").click()
    expect(button(olga, "Block")).to_be_visible()
    shopper.log_in(kim.email, "/account")
    expect(shopper.page.get_by_role("heading", level=1)).to_have_text("Kim")


def test_the_page_of_a_buyer_who_was_blocked_goes_on_showing_the_sale(operator, visit, account, make_sale):
    """The socket that was theirs is closed; what everybody may see, they may see as anybody."""
    sale, kim = make_sale(total_stock=5), account(name="Kim")
    shopper = visit()
    shopper.log_in(kim.email, f"/sales/{sale.id}")
    expect(shopper.page.get_by_text("On sale now", exact=True)).to_be_visible()
    olga = operator(f"/admin/users/{kim.id}/block")
    with shopper.page.expect_websocket() as opened:
        button(olga, "Block").click()
    assert "ticket=" not in opened.value.url, "whoever is refused gets none"

    olga.open(f"/admin/sales/{sale.id}/desk")
    button(olga, "Pause").click()

    expect(shopper.page.get_by_text(re.compile("^Paused"))).to_be_visible()
    shopper.is_allowed(REFUSED)


def test_a_user_is_made_by_hand_and_the_keyboard_alone_makes_them_an_admin(operator):
    olga = operator("/admin/users")
    page = olga.page
    page.get_by_role("link", name="New user").click()
    page.get_by_label("Name").fill("Bo")
    page.get_by_label("Email").fill("bo@people.test")
    page.get_by_label("Password").fill("short")
    page.get_by_label("Role").select_option("Customer")
    button(olga, "Create").click()
    expect(page.get_by_text(re.compile("at least 6 characters$"))).to_be_visible()
    expect(page.get_by_label("Password")).to_have_value("")
    olga.is_allowed("400")
    page.get_by_label("Password").fill("long enough")
    button(olga, "Create").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bo")

    button(olga, "Make admin").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Make Bo an admin?")
    # The harmless answer has the focus.
    expect(dialog.get_by_role("button", name="Back")).to_be_focused()
    dialog.get_by_role("button", name="Make admin").focus()
    page.keyboard.press("Enter")

    expect(button(olga, "Make customer")).to_be_visible()
    expect(page.get_by_text(re.compile(r"bo@people\.test, admin"))).to_be_visible()


def test_for_oneself_the_page_says_why_there_is_no_button(operator):
    olga = operator("/admin/users")
    olga.page.get_by_role("link", name="Olga").first.click()

    expect(olga.page.get_by_text(re.compile("This is you: nobody blocks themselves"))).to_be_visible()
    expect(button(olga, "Block")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_pages_of_users_and_they_fit_on_a_phone(operator, account, scheme):
    kim = account(name="Kim")
    olga = operator(color_scheme=scheme, **PHONE)

    for path in ("/admin/users", "/admin/users/new", f"/admin/users/{kim.id}", f"/admin/users/{kim.id}/block"):
        page = olga.open(path)
        found = Axe().run(page, options={"runOnly": {"type": "tag", "values": list(WCAG)}})
        assert found.violations_count == 0, (path, found.generate_report())
        assert fits(page), path
