"""A whole sale from its countdown to its end: two buyers and an operator, each in a browser of their own."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from models.audit import audit_sale
from models.clock import now
from models.database import transaction
from models.purchase import Purchase
from models.sale import FlashSale
from models.settle import settle_turn
from tests.browser.conftest import OFFLINE, Visitor, button, sees

SALE = r"/api/flash-sales/\d+$"


@dataclass
class Play:
    """Who is there."""

    sale: FlashSale
    ann: Visitor
    bo: Visitor
    olga: Visitor
    worker_may_rest: Callable[[bool], None]

    def both_see(self, *words):
        for visitor in (self.ann, self.bo):
            for each in words:
                sees(visitor, each)

    def clocks_show(self, pattern):
        for visitor in (self.ann, self.bo):
            expect(visitor.page.get_by_role("timer").first).to_have_text(re.compile(pattern))


@pytest.fixture
def play(buyer, operator, make_sale, worker_may_rest):
    sale = make_sale(title="Two pairs", total_stock=2, opens_in=timedelta(hours=2), hold_seconds=45)
    here = f"/sales/{sale.id}"
    return Play(sale, buyer(here), buyer(here), operator(f"/admin/sales/{sale.id}"), worker_may_rest)


# Three browsers on a machine that may be busy with other tests.
@pytest.mark.timeout(900)
def test_two_buyers_and_an_operator_go_through_a_whole_sale(play):
    it_opens_when_the_operator_says_so(play)
    it_is_held_back_and_goes_on(play)
    a_line_forms_and_moves(play)
    a_network_is_cut_and_comes_back(play)
    a_hold_runs_out_before_its_buyers_eyes(play)
    the_last_one_is_sold(play)
    there_is_more_of_it_until_the_operator_ends_it(play)

    assert outcomes(play.sale) == {1: "confirmed", 2: "expired", 3: "rejected", 4: "confirmed"}
    assert audit_sale(play.sale.id).agrees


def it_opens_when_the_operator_says_so(play):
    play.both_see("Starts in", "2 left")
    play.clocks_show(r"^(1:59:\d\d|2:00:00)$")
    button(play.ann, "Buy").click()
    sees(play.ann, "Ready")

    soon = (now() + timedelta(seconds=25)).strftime("%Y-%m-%dT%H:%M:%S")
    play.olga.page.get_by_label("Starts (UTC)").fill(soon)
    button(play.olga, "Save").click()

    # The clocks follow at once, and who was ready is served by itself.
    play.clocks_show(r"^0:[012]\d$")
    sees(play.ann, "Confirmed")
    play.both_see("On sale now", "1 left")


def it_is_held_back_and_goes_on(play):
    play.olga.open(f"/admin/sales/{play.sale.id}/desk")
    expect(play.olga.page.get_by_text("All is well")).to_be_visible()
    with play.ann.asks_nothing(SALE), play.bo.asks_nothing(SALE):
        button(play.olga, "Pause").click()
        for visitor in (play.ann, play.bo):
            expect(visitor.page.get_by_text("Paused.")).to_be_visible()
        button(play.olga, "Resume").click()
        play.both_see("On sale now")


def a_line_forms_and_moves(play):
    play.worker_may_rest(True)
    button(play.bo, "Reserve").click()
    sees(play.bo, "You are next")
    button(play.ann, "Buy").click()
    sees(play.ann, "1 ahead of you")

    # In the middle of it Ann loads her page again.
    play.ann.page.reload()
    sees(play.ann, "1 ahead of you")
    settle_turn(play.sale.id, batches=1, batch_max=1)

    sees(play.bo, "Reserved")
    expect(play.bo.page.get_by_text("Held for you for 0:")).to_be_visible()
    sees(play.ann, "You are next")
    play.both_see("Sold out")


def a_network_is_cut_and_comes_back(play):
    play.ann.context.set_offline(True)
    expect(play.ann.page.get_by_text("No connection.")).to_be_visible()
    play.worker_may_rest(False)
    expect(play.olga.page.locator('[data-number="waiting"]')).to_have_text("0")

    # Her turn came meanwhile, and she is told so.
    play.ann.context.set_offline(False)
    sees(play.ann, "Not this time")
    expect(play.ann.page.get_by_text("No units were left when it was your turn.")).to_be_visible()
    expect(play.ann.page.get_by_text("No connection.")).to_be_hidden()
    play.ann.is_allowed(OFFLINE)


def a_hold_runs_out_before_its_buyers_eyes(play):
    expect(play.bo.page.get_by_text("Expired", exact=True)).to_be_visible(timeout=120_000)
    expect(button(play.bo, "Check out")).to_be_hidden()
    play.both_see("1 left")


def the_last_one_is_sold(play):
    button(play.bo, "Buy").click()
    sees(play.bo, "Confirmed")
    play.both_see("Sold out", "The sale is over")
    expect(button(play.ann, "Buy")).to_be_hidden()


def there_is_more_of_it_until_the_operator_ends_it(play):
    play.olga.page.get_by_label("Total stock", exact=True).fill("5")
    button(play.olga, "Restock").click()
    play.both_see("3 left", "of 5")

    # Being asked whether to end it ends nothing.
    button(play.olga, "End").click()
    expect(button(play.olga, "End the sale")).to_be_visible()
    play.both_see("On sale now")
    button(play.olga, "End the sale").click()

    play.both_see("The sale is over")
    for visitor in (play.ann, play.bo):
        expect(button(visitor, "Buy")).to_be_hidden()
    expect(play.olga.page.locator("[data-status]")).to_have_text("Ended")


def outcomes(sale):
    """Of each ticket its status, in the order of the line."""
    with transaction() as session:
        query = select(Purchase.ticket, Purchase.status).where(Purchase.sale_id == sale.id).order_by(Purchase.ticket)
        return {ticket: str(status) for ticket, status in session.execute(query)}
