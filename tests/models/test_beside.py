"""Settling several batches in one turn: what is told and read beside the one that PostgreSQL writes.

A turn is one worker's; what another worker, an operator or a Redis that forgets does in between is done here between
two of its batches.
"""

from threading import current_thread

import pytest
from psycopg.errors import CheckViolation
from sqlalchemy import text

from models import batch, outcomes, rediskeys, settle
from models.announce import rebuild_view
from models.audit import audit_sale
from models.database import transaction
from models.gate import admit
from models.outcomes import Waiting
from models.purchase import Kind, Purchase
from models.redisclient import redis_client
from models.sales import patch_sale, pause_sale
from models.settle import settle_turn

SIZE = 3


class DiedError(Exception):
    """The process dies here."""


@pytest.fixture
def line(make_sale):
    """line(requests, …) -> the id of a sale before which so many buyers wait for a unit each."""

    def make(requests, **fields):
        sale = make_sale(**fields)
        for user_id in range(1, requests + 1):
            admit(sale.id, user_id, Kind.PURCHASE, 1, idempotency_key=f'"{user_id}\\')
        return sale.id

    return make


def outcomes_of(sale_id):
    """(ticket, buyer, status) of every purchase, in ticket order."""
    with transaction() as session:
        rows = session.query(Purchase).filter_by(sale_id=sale_id).order_by(Purchase.ticket)
        return [(row.ticket, row.user_id, row.status) for row in rows]


@pytest.fixture
def told(monkeypatch):
    """What was told, as (tickets, whether PostgreSQL had them committed) of each telling, in order."""
    heard = []

    def announce(snapshot, records=(), **options):
        tickets = [record.ticket for record in records]
        committed = {ticket for ticket, _, _ in outcomes_of(snapshot.sale_id)}
        heard.append((tickets, committed.issuperset(tickets)))
        return real(snapshot, records, **options)

    real = settle.announce
    monkeypatch.setattr(settle, "announce", announce)
    return heard


def before_batch(monkeypatch, number, act):
    """Do something once, right before this batch (from 1) of the next turn asks for the sale's lock."""
    real, count = settle.commit_batch, iter(range(1, 100))

    def commit_batch(*args):
        if next(count) == number:
            act(args)
        return real(*args)

    monkeypatch.setattr(settle, "commit_batch", commit_batch)


def test_each_batch_is_told_once_in_order_and_never_before_it_is_committed(line, told, waiting):
    sale_id = line(10, total_stock=8)

    report = settle_turn(sale_id, batch_max=SIZE)

    assert told == [([1, 2, 3], True), ([4, 5, 6], True), ([7, 8, 9], True), ([10], True)]
    assert (report.confirmed, report.rejected, report.remaining, report.more) == (8, 2, 0, False)
    assert outcomes_of(sale_id) == [(n, n, "confirmed" if n <= 8 else "rejected") for n in range(1, 11)]
    assert waiting(sale_id) == 0
    assert audit_sale(sale_id).agrees


def test_what_is_read_ahead_is_the_next_batch(line, monkeypatch):
    sale_id = line(2 * SIZE + 1)
    seen = []
    before_batch(monkeypatch, 2, lambda args: seen.append([request.ticket for request in args[2].requests]))

    settle_turn(sale_id, batch_max=SIZE)

    assert seen == [[4, 5, 6]], "nothing was read ahead: the other tests here prove nothing"


def test_a_turn_reads_nothing_ahead_that_it_may_not_settle(line, waiting, told):
    sale_id = line(7)

    report = settle_turn(sale_id, batches=2, batch_max=SIZE)

    assert (report.settled, report.more, waiting(sale_id)) == (6, True, 1)
    assert [tickets for tickets, _ in told] == [[1, 2, 3], [4, 5, 6]]


def test_a_batch_that_is_rolled_back_is_not_told_and_the_one_before_it_is(line, told, monkeypatch, waiting):
    sale_id = line(9)
    real, count = batch.commit_together, iter(range(1, 100))

    def fail_second(session, statements, meanwhile):
        if next(count) == 2:
            meanwhile()
            raise DiedError
        real(session, statements, meanwhile)

    with monkeypatch.context() as patch:
        patch.setattr(batch, "commit_together", fail_second)
        with pytest.raises(DiedError):
            settle_turn(sale_id, batch_max=SIZE)
    assert told == [([1, 2, 3], True)]
    assert waiting(sale_id) == 6

    settle_turn(sale_id, batch_max=SIZE)

    assert told == [([1, 2, 3], True), ([4, 5, 6], True), ([7, 8, 9], True)]
    assert audit_sale(sale_id).agrees


def test_what_could_not_be_told_is_told_by_the_next_turn(line, monkeypatch, told, waiting):
    sale_id = line(8)

    def die(*_, **__):
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(settle, "announce", die)
        with pytest.raises(DiedError):
            settle_turn(sale_id, batch_max=SIZE)
    # The telling of the first died beside the writing of the second, which stands.
    assert [ticket for ticket, _, _ in outcomes_of(sale_id)] == [1, 2, 3, 4, 5, 6]

    settle_turn(sale_id, batch_max=SIZE)

    assert sorted(ticket for tickets, _ in told for ticket in tickets) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert waiting(sale_id) == 0
    assert audit_sale(sale_id).agrees


def test_what_was_read_ahead_and_settled_by_another_worker_is_only_told_again(line, monkeypatch, waiting):
    sale_id = line(9, total_stock=7)
    other = []

    def another_worker(_):
        with monkeypatch.context() as patch:
            patch.setattr(settle, "commit_batch", batch.commit_batch)
            other.append(settle_turn(sale_id, batch_max=SIZE).settled)

    before_batch(monkeypatch, 2, another_worker)
    report = settle_turn(sale_id, batch_max=SIZE)

    assert (report.settled, other) == (3, [6])
    assert outcomes_of(sale_id) == [(n, n, "confirmed" if n <= 7 else "rejected") for n in range(1, 10)]
    assert waiting(sale_id) == 0
    assert audit_sale(sale_id).agrees


def test_what_was_read_ahead_is_decided_by_the_sale_as_it_is_then(line, monkeypatch):
    sale_id = line(9)
    before_batch(monkeypatch, 2, lambda _: pause_sale(sale_id))

    settle_turn(sale_id, batch_max=SIZE)

    assert [status for _, _, status in outcomes_of(sale_id)] == ["confirmed"] * 3 + ["rejected"] * 6


def test_what_was_decided_ahead_stands_where_nobody_changed_the_sale(line, monkeypatch):
    """All but the first batch, which nobody could read ahead."""
    decided_in = []
    real = outcomes.decide
    monkeypatch.setattr(
        outcomes, "decide", lambda *args, **named: decided_in.append(current_thread().name) or real(*args, **named)
    )

    sale_id = line(3 * SIZE - 1, total_stock=7)
    settle_turn(sale_id, batch_max=SIZE)

    assert decided_in[0] == current_thread().name
    assert len(decided_in) == 3
    assert all(name.startswith("beside-settle") for name in decided_in[1:])
    assert [status for _, _, status in outcomes_of(sale_id)] == ["confirmed"] * 7 + ["rejected"]
    assert audit_sale(sale_id).agrees


def test_units_taken_between_two_batches_are_not_sold_again(line, monkeypatch):
    sale_id = line(2 * SIZE, total_stock=4)
    before_batch(monkeypatch, 2, lambda _: patch_sale(sale_id, {"total_stock": 3}, actor_id=None))

    settle_turn(sale_id, batch_max=SIZE)

    assert [status for _, _, status in outcomes_of(sale_id)] == ["confirmed"] * 3 + ["rejected"] * 3
    assert audit_sale(sale_id).agrees


def test_control_whoever_trusts_what_was_decided_ahead_sells_a_unit_that_is_gone(line, monkeypatch):
    sale_id = line(2 * SIZE, total_stock=4)
    real = Waiting.decided

    def trust(self, terms, *others):
        return self._guess[1] if self._guess else real(self, terms, *others)

    monkeypatch.setattr(Waiting, "decided", trust)
    before_batch(monkeypatch, 2, lambda _: patch_sale(sale_id, {"total_stock": 3}, actor_id=None))

    with pytest.raises(CheckViolation, match="never_oversold"):
        settle_turn(sale_id, batch_max=SIZE)


def test_control_whoever_decides_by_what_the_sale_was_sells_a_paused_one(line, monkeypatch):
    """Were a batch decided where it is read, the pause would come too late for it."""
    sale_id = line(9)
    before_batch(monkeypatch, 2, lambda _: pause_sale(sale_id))
    known = []
    real = batch.terms_of
    monkeypatch.setattr(batch, "terms_of", lambda sale: known.append(real(sale)) or known[0])

    settle_turn(sale_id, batch_max=SIZE)

    assert [status for _, _, status in outcomes_of(sale_id)] == ["confirmed"] * 9


def test_a_redis_that_forgets_what_was_read_ahead_loses_nobody(line, monkeypatch, waiting):
    """Four to six were read; Redis forgets them and gives their tickets to others. All six get an outcome."""
    sale_id = line(6)

    def forget(_):
        redis_client().flushall()
        rebuild_view(sale_id)
        for user_id in (104, 105, 106):
            assert admit(sale_id, user_id, Kind.PURCHASE, 1).ticket == user_id - 100

    before_batch(monkeypatch, 2, forget)
    settle_turn(sale_id, batch_max=SIZE)
    while waiting(sale_id):
        settle_turn(sale_id, batch_max=SIZE)

    assert sorted(user for _, user, _ in outcomes_of(sale_id)) == [1, 2, 3, 4, 5, 6, 104, 105, 106]
    assert audit_sale(sale_id).agrees


def test_something_else_at_the_end_of_a_full_batch_is_no_ticket(line, waiting):
    """An id that no gate gives out has no ticket, and lies behind those that have: it may not hide among the new."""
    sale_id = line(2)
    redis_client().xadd(rediskeys.mailbox(sale_id), {"u": "9", "k": "p", "q": "1", "n": "x", "t": "1"}, id="5-1")

    settle_turn(sale_id, batch_max=SIZE)
    settle_turn(sale_id, batch_max=SIZE)

    assert [ticket for ticket, _, _ in outcomes_of(sale_id)] == [1, 2]
    assert waiting(sale_id) == 0
    assert admit(sale_id, 3, Kind.PURCHASE, 1).ticket == 3


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"n", b"\xff\xfe"], id="no text"),
        pytest.param([b"n", b"first", b"n", b"second"], id="twice"),
        pytest.param([], id="no nonce"),
        pytest.param([b"n", b""], id="empty"),
    ],
)
def test_an_entry_with_an_odd_nonce_at_the_end_of_the_line_is_trimmed_too(line, waiting, fields):
    sale_id = line(2)
    whole = [b"u", b"9", b"k", b"p", b"q", b"1", b"t", b"1", *fields]
    redis_client().execute_command("XADD", rediskeys.mailbox(sale_id), "0-*", *whole)

    settle_turn(sale_id, batch_max=SIZE)

    assert len(outcomes_of(sale_id)) == 3
    assert waiting(sale_id) == 0


def test_requests_behind_a_ticket_are_the_very_same_where_all_are(line):
    from models import mailbox  # noqa: PLC0415 - only here

    waiting_there = Waiting(mailbox.read(line(4), 10))

    assert waiting_there.behind(0) is waiting_there
    assert [request.ticket for request in waiting_there.behind(2).requests] == [3, 4]
    with transaction() as session:
        users = session.scalar(
            text("SELECT CAST(:users AS bigint[])"), {"users": waiting_there.behind(2).columns["user_id"].value}
        )
    assert users == [3, 4]
