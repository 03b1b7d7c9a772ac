"""A worker that stays at a line: nobody is left there by it, and nobody else is kept waiting for long."""

import threading
import time

import pytest

from models import mailbox, rediskeys, staying
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settle import settle_turn
from models.staying import STAY_SECONDS_MAX, settle_while_they_come
from worker import settling

PATIENCE_SECONDS = 60


@pytest.fixture
def patient(monkeypatch):
    """A line is watched for as long as a slow machine needs to send somebody into it."""
    monkeypatch.setattr(staying, "WATCH_MS", 400)
    monkeypatch.setattr(rediskeys, "STAYING_MS", 5_000)
    monkeypatch.setattr(staying, "STAY_SECONDS_MAX", PATIENCE_SECONDS)


def in_a_thread(do):
    heard = []
    thread = threading.Thread(target=lambda: heard.append(do()))
    thread.start()
    return thread, heard


def eventually(is_so):
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.usefixtures("patient")
def test_who_comes_while_a_worker_stays_is_settled_by_it_and_wakes_nobody(make_sale):
    sale = make_sale()
    assert admit(sale.id, 1, Kind.PURCHASE, 1).wake
    thread, reports = in_a_thread(lambda: settle_while_they_come(sale.id))
    wakes = []
    for user in (2, 3):
        eventually(lambda: redis_client().exists(rediskeys.awake(sale.id)) and not mailbox.read(sale.id, 1))
        wakes.append(admit(sale.id, user, Kind.PURCHASE, 1).wake)
    thread.join(PATIENCE_SECONDS)

    assert wakes == [False, False]
    assert (reports[0].settled, reports[0].confirmed, reports[0].more) == (3, 3, False)
    assert admit(sale.id, 4, Kind.PURCHASE, 1).wake, "who comes behind it wakes the next"


def come_as_it_leaves(monkeypatch, sale, heard):
    """Somebody who lines up when the worker has stopped watching, and still has the flag up."""
    real = mailbox.watch

    def watch(sale_id, _milliseconds, *, announced):
        is_there = real(sale_id, 1, announced=announced)
        if not heard:
            heard.append(admit(sale.id, 2, Kind.PURCHASE, 1).wake)
        return is_there

    monkeypatch.setattr(mailbox, "watch", watch)


@pytest.mark.usefixtures("patient")
def test_who_comes_as_it_leaves_is_seen_by_its_last_look(make_sale, monkeypatch):
    sale, wakes = make_sale(), []
    admit(sale.id, 1, Kind.PURCHASE, 1)
    come_as_it_leaves(monkeypatch, sale, wakes)

    report = settle_while_they_come(sale.id)

    assert wakes == [False]
    assert (report.settled, report.more) == (1, True)
    assert not redis_client().exists(rediskeys.awake(sale.id)), "or the wake-up for them could not be sent"


@pytest.mark.usefixtures("patient")
def test_control_without_the_last_look_they_wait_for_the_sweeper(make_sale, monkeypatch):
    sale, wakes = make_sale(), []
    admit(sale.id, 1, Kind.PURCHASE, 1)
    come_as_it_leaves(monkeypatch, sale, wakes)
    real = mailbox.take_up
    monkeypatch.setattr(
        mailbox,
        "take_up",
        lambda sale_id, count, *, stays=False: real(sale_id, count, stays=stays) if count > 1 else [],
    )

    report = settle_while_they_come(sale.id)

    assert (wakes, report.more, len(mailbox.read(sale.id, 10))) == ([False], False, 1)


def test_a_worker_that_dies_while_it_stays_leaves_the_sale_asleep_for_a_moment_only(make_sale, monkeypatch):
    monkeypatch.setattr(rediskeys, "STAYING_MS", 2_000)
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    settle_turn(sale.id)
    assert not mailbox.watch(sale.id, 1, announced=False)
    left_ms = redis_client().pttl(rediskeys.awake(sale.id))

    assert 0 < left_ms <= rediskeys.STAYING_MS
    eventually(lambda: not redis_client().exists(rediskeys.awake(sale.id)))
    assert admit(sale.id, 2, Kind.PURCHASE, 1).wake


def test_other_sales_wait_no_longer_than_a_moment_for_one_that_never_ends(make_sale):
    sale = make_sale(total_stock=1_000_000)
    is_over = threading.Event()

    def come():
        user = 0
        while not is_over.is_set():
            user += 1
            admit(sale.id, user, Kind.PURCHASE, 1)

    thread, _ = in_a_thread(come)
    try:
        eventually(lambda: mailbox.read(sale.id, 1))
        began = time.monotonic()
        report = settle_while_they_come(sale.id)
        took = time.monotonic() - began
        one = time.monotonic()
        settle_turn(sale.id)
        one = time.monotonic() - one
    finally:
        is_over.set()
        thread.join(PATIENCE_SECONDS)

    assert report.settled
    # The turn in hand when the time is over is still ended.
    assert took < STAY_SECONDS_MAX + 20 * one + 1


def test_a_line_that_another_worker_has_is_left_to_it(make_sale, monkeypatch):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    settled = settle_turn(sale.id)
    turns = iter([settled, type(settled)(sale=sale.id)])
    asked = []
    monkeypatch.setattr(staying, "settle_turn", lambda *_, **named: asked.append(named) or next(turns))
    monkeypatch.setattr(mailbox, "watch", lambda *_, **__: True)

    settle_while_they_come(sale.id)

    assert asked == [{}, {"stays": True}]


def test_only_a_sale_that_comes_twice_in_a_row_is_stayed_with(make_sale, monkeypatch):
    hot, other = make_sale(), make_sale()
    stayed = []
    monkeypatch.setattr(settling, "_last", [])
    monkeypatch.setattr(
        settling, "settle_while_they_come", lambda sale_id: stayed.append(sale_id) or settle_turn(sale_id)
    )

    for sale in (hot, other, hot, other, other, hot, hot):
        settling.settle(sale.id)

    assert stayed == [other.id, hot.id]
