"""Waiting for an outcome: woken by the news, and by PostgreSQL where the news had nothing."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from models import holds
from models.gate import admit
from models.looptrips import LoopTrips
from models.purchase import Kind
from models.record import PurchaseRecord
from models.settle import settle_turn
from tests.statements import statements
from web import waiting
from web.news import news
from web.waiting import INTEREST_SECONDS, REMEMBERED_MAX, SALES_REMEMBERED_MAX, waiters

PATIENCE_SECONDS = 60
# As long as anybody may ask for.
WAIT_SECONDS = 30


@pytest.fixture(autouse=True)
def _ears(app):
    """This process hears the news, and remembers none of the last test: its sales had the same ids."""
    waiters().missed()
    assert news().wait_until_connected(PATIENCE_SECONDS)


def _eventually(is_so):
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def _ask(client, header, sale, ticket, wait=WAIT_SECONDS):
    answer = client.get(f"/api/purchases/{sale.id}-{ticket}?wait={wait}", headers=header)
    return answer.status_code, (answer.json.get("data") or {}).get("status")


def _settle_when_somebody_waits(sale):
    def settle():
        _eventually(lambda: waiters()._waits.get(sale.id))
        settle_turn(sale.id)

    thread = threading.Thread(target=settle)
    thread.start()
    return thread


def test_who_waits_in_line_is_woken_and_postgres_is_not_asked(client, make_sale, make_user, auth, monkeypatch):
    monkeypatch.setattr(waiting, "FIRST_LOOK_SECONDS", PATIENCE_SECONDS)
    sale, ann = make_sale(), make_user()
    ticket = admit(sale.id, ann.id, Kind.PURCHASE, 1).ticket
    settling = _settle_when_somebody_waits(sale)

    with statements("FROM purchases") as asked:
        assert _ask(client, auth(ann), sale, ticket) == (200, "confirmed")
        settling.join()

    assert asked == []


def test_who_asks_a_moment_after_the_outcome_hears_it_from_the_news(client, make_sale, make_user, auth):
    sale, ann, ben = make_sale(), make_user(), make_user()
    first, second = (admit(sale.id, user.id, Kind.PURCHASE, 1).ticket for user in (ann, ben))
    settling = _settle_when_somebody_waits(sale)
    assert _ask(client, auth(ann), sale, first) == (200, "confirmed")
    settling.join()

    with statements("FROM purchases") as asked:
        assert _ask(client, auth(ben), sale, second) == (200, "confirmed")
    assert asked == []
    with statements("FROM purchases") as asked:
        assert _ask(client, auth(ben), sale, second, wait=0) == (200, "confirmed")
    assert asked, "or nothing is counted here"


def test_the_outcome_of_somebody_else_is_not_told(client, make_sale, make_user, auth):
    sale, ann, ben = make_sale(), make_user(), make_user()
    ticket = admit(sale.id, ann.id, Kind.PURCHASE, 1).ticket

    assert _ask(client, auth(ben), sale, ticket, wait=0.2)[0] == 404
    settling = _settle_when_somebody_waits(sale)
    assert _ask(client, auth(ann), sale, ticket) == (200, "confirmed")
    settling.join()

    assert waiters().heard_of(sale.id, ticket, ann.id) is not None
    assert _ask(client, auth(ben), sale, ticket)[0] == 404


def test_a_hold_that_has_ended_is_told_as_it_is_now(client, make_sale, make_user, auth):
    sale, ann = make_sale(), make_user()
    ticket = admit(sale.id, ann.id, Kind.RESERVATION, 1).ticket
    settling = _settle_when_somebody_waits(sale)
    assert _ask(client, auth(ann), sale, ticket) == (200, "reserved")
    settling.join()

    holds.cancel(sale.id, [ticket], ann.id)

    _eventually(lambda: _ask(client, auth(ann), sale, ticket) == (200, "cancelled"))


def test_what_the_news_did_not_say_is_looked_up(client, make_sale, make_user, auth, monkeypatch):
    monkeypatch.setattr("models.announce.rediskeys.news", lambda sale_id: "nobody listens here")
    sale, ann = make_sale(), make_user()
    ticket = admit(sale.id, ann.id, Kind.PURCHASE, 1).ticket
    settling = _settle_when_somebody_waits(sale)

    assert _ask(client, auth(ann), sale, ticket) == (200, "confirmed")
    settling.join()


def test_an_outcome_whose_entry_still_lies_in_the_mailbox_is_found(client, make_sale, make_user, auth, monkeypatch):
    """A worker that died between the commit and the telling: the mailbox says that it waits, PostgreSQL knows."""
    sale, ann = make_sale(), make_user()
    ticket = admit(sale.id, ann.id, Kind.PURCHASE, 1).ticket
    monkeypatch.setattr("models.settle.announce", lambda *_, **__: None)
    settle_turn(sale.id)

    assert _ask(client, auth(ann), sale, ticket) == (200, "confirmed")


def test_a_process_remembers_so_many_outcomes_and_for_so_long(make_sale, monkeypatch):
    sale = make_sale()
    these = waiting.Waiters(1)
    these.heard_of(sale.id, 1, 1)
    crowd = [PurchaseRecord(sale.id, ticket, 1, "purchase", 1, "confirmed") for ticket in range(1, REMEMBERED_MAX + 3)]

    these._recent[sale.id].remember(crowd)

    assert these.heard_of(sale.id, 2, 1) is None
    assert these.heard_of(sale.id, 3, 1) == crowd[2]
    assert these.wants(sale.id)
    now = time.monotonic()
    monkeypatch.setattr("web.waiting.time.monotonic", lambda: now + INTEREST_SECONDS + 1)
    assert not these.wants(sale.id)
    assert these._recent == {}


def test_after_an_interruption_nothing_is_remembered(store):
    these = waiting.Waiters(1)
    these.heard_of(7, 1, 1)
    these._recent[7].remember([PurchaseRecord(7, 1, 1, "purchase", 1, "confirmed")])
    assert these.heard_of(7, 1, 1) is not None

    these.missed()

    assert these.heard_of(7, 1, 1) is None


def test_only_so_many_sales_are_remembered_whatever_is_asked_for(store):
    these = waiting.Waiters(1)
    for sale_id in range(1, 3 * SALES_REMEMBERED_MAX):
        these.heard_of(sale_id, 1, 1)
        assert len(these._recent) <= SALES_REMEMBERED_MAX

    assert 3 * SALES_REMEMBERED_MAX - 1 in these._recent, "the latest is there"


def test_what_was_heard_before_the_gate_was_asked_is_about_another_request(make_sale, make_user, client, auth):
    """A Redis that came back from the past gives a ticket out twice, here to the same buyer."""
    sale, ann = make_sale(), make_user()
    waiters().heard_of(sale.id, 1, ann.id)
    waiters()._recent[sale.id].remember([PurchaseRecord(sale.id, 1, ann.id, "purchase", 1, "confirmed")])
    path, header = f"/api/flash-sales/{sale.id}/purchases", auth(ann) | {"Prefer": "wait=0.3"}

    answer = client.post(path, json={}, headers=header)

    assert (answer.status_code, answer.json["data"]["ticket"]) == (202, 1)
    assert waiters().heard_of(sale.id, 1, ann.id) is not None, "or nothing was remembered"


def test_a_late_telling_does_not_bring_back_a_hold_that_has_ended(store):
    """Of a worker that was held up between its commit and its telling."""
    these = waiting.Waiters(1)
    these.heard_of(7, 1, 1)
    held = PurchaseRecord(7, 1, 1, "reservation", 1, "reserved", revision=10)
    bought = held._replace(status="confirmed", revision=11)

    these._recent[7].remember([bought])
    these._recent[7].remember([held])

    assert these.heard_of(7, 1, 1) == bought


def test_what_is_over_is_forgotten_when_somebody_asks_about_another_sale(store, monkeypatch):
    these = waiting.Waiters(1)
    these.heard_of(7, 1, 1)
    these.heard_of(8, 1, 1)
    now = time.monotonic()
    monkeypatch.setattr("web.waiting.time.monotonic", lambda: now + INTEREST_SECONDS + 1)

    these.heard_of(9, 1, 1)

    assert list(these._recent) == [9]


@pytest.mark.parametrize(("looks", "others_are_answered"), [(4, True), (1_000, False)], ids=["as it is", "control"])
def test_a_crowd_that_has_missed_the_news_leaves_threads_to_everybody_else(
    store, monkeypatch, looks, others_are_answered
):
    """PostgreSQL says nothing, and 200 who wait on the loop want to know: somebody else needs a thread."""
    monkeypatch.setattr(waiting, "FIRST_LOOK_SECONDS", 0.01)
    these, is_over, has_begun = waiting.Waiters(1, looks), threading.Event(), threading.Event()
    record = PurchaseRecord(7, 1, 1, "purchase", 1, "queued")

    def look():
        has_begun.set()
        is_over.wait(PATIENCE_SECONDS)
        return record

    async def ask(trips):
        waits = [asyncio.create_task(these.wait(trips, (7, ticket), 1, 30, look)) for ticket in range(200)]
        while not has_begun.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        try:
            answer = await asyncio.wait_for(trips.aside(lambda: "answered"), 5 if others_are_answered else 0.5)
        except TimeoutError:
            answer = None
        is_over.set()
        for wait in waits:
            wait.cancel()
        return answer, await asyncio.gather(*waits, return_exceptions=True)

    async def on_loop():
        return await ask(LoopTrips(threads))

    with ThreadPoolExecutor(16) as threads:
        answer, _ = asyncio.run(on_loop())

    assert answer == ("answered" if others_are_answered else None)
