"""Two workers and one sale: the second does not wait for the first, and nobody who came meanwhile is left in line."""

import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from models import batch, mailbox, rediskeys
from models.audit import audit_sale
from models.database import transaction
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settle import settle_turn

PATIENCE_SECONDS = 60


@contextmanager
def at_work(monkeypatch, sale_id, found):
    """Another worker who has read the sale's line, and commits when the block ends; `found` gets its report."""
    has_read, may_go_on = threading.Event(), threading.Event()
    real = batch.commit_together

    def wait_then_write(*args):
        has_read.set()
        assert may_go_on.wait(PATIENCE_SECONDS)
        real(*args)

    monkeypatch.setattr(batch, "commit_together", wait_then_write)
    thread = threading.Thread(target=lambda: found.append(settle_turn(sale_id)))
    thread.start()
    assert has_read.wait(PATIENCE_SECONDS)
    monkeypatch.undo()
    try:
        yield
    finally:
        may_go_on.set()
        thread.join(PATIENCE_SECONDS)


def test_who_comes_second_goes_on_to_other_sales_and_the_first_looks_once_more(make_sale, monkeypatch, waiting):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    first = []

    with at_work(monkeypatch, sale.id, first):
        late = admit(sale.id, 2, Kind.PURCHASE, 1)
        second = settle_turn(sale.id)
        assert not first, "the second waited for the first"

    assert (second.settled, second.more) == (0, False)
    assert (first[0].settled, first[0].more) == (1, True)
    assert waiting(sale.id) == 1
    report = settle_turn(sale.id)
    assert (report.settled, report.more) == (1, False), f"ticket {late.ticket} is settled, and nobody asks again"
    assert audit_sale(sale.id).agrees


def test_control_without_a_word_the_first_leaves_who_came_meanwhile_in_line(make_sale, monkeypatch, waiting):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    first = []

    with at_work(monkeypatch, sale.id, first):
        admit(sale.id, 2, Kind.PURCHASE, 1)
        monkeypatch.setattr(mailbox, "ask_for_another_turn", lambda _: None)
        settle_turn(sale.id)

    assert (first[0].more, waiting(sale.id)) == (False, 1)


def test_a_first_who_left_between_the_two_looks_of_the_second_leaves_the_sale_to_it(make_sale, monkeypatch, waiting):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    first, asked = [], []
    real = mailbox.ask_for_another_turn

    with at_work(monkeypatch, sale.id, first) as _:
        admit(sale.id, 2, Kind.PURCHASE, 1)
        busy = threading.Event()

        def ask_late(sale_id):
            busy.set()
            while not first:
                asked.append(1)
                threading.Event().wait(0.01)
            real(sale_id)

        monkeypatch.setattr(mailbox, "ask_for_another_turn", ask_late)
        second = []
        thread = threading.Thread(target=lambda: second.append(settle_turn(sale.id)))
        thread.start()
        assert busy.wait(PATIENCE_SECONDS)
    thread.join(PATIENCE_SECONDS)

    assert (first[0].settled, first[0].more) == (1, False)
    assert second[0].settled == 1
    assert waiting(sale.id) == 0


def test_a_checkout_or_an_operator_who_has_the_row_is_waited_for(make_sale, waiting):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    reports = []
    with transaction() as session:
        session.execute(text("SELECT 1 FROM flash_sales WHERE id = :id FOR UPDATE"), {"id": sale.id})
        thread = threading.Thread(target=lambda: reports.append(settle_turn(sale.id)))
        thread.start()
        thread.join(0.3)
        assert not reports
    thread.join(PATIENCE_SECONDS)

    assert reports[0].settled == 1
    assert waiting(sale.id) == 0


def test_other_sales_are_nobodys_business(make_sale, monkeypatch):
    busy, free = make_sale(), make_sale()
    for sale in (busy, free):
        admit(sale.id, 1, Kind.PURCHASE, 1)

    with at_work(monkeypatch, busy.id, []):
        assert settle_turn(free.id).settled == 1


@pytest.mark.parametrize("somebodys", ["a list", "a string"])
def test_what_somebody_else_left_in_its_place_costs_a_look(make_sale, somebodys):
    sale = make_sale()
    key = rediskeys.asked(sale.id)
    redis_client().rpush(key, "x") if somebodys == "a list" else redis_client().set(key, "x")
    admit(sale.id, 1, Kind.PURCHASE, 1)

    assert settle_turn(sale.id).more
    assert not settle_turn(sale.id).more
