"""Being the one who settles: the turn, the sale's row and the clock in one trip to PostgreSQL, and in this order."""

import threading
from contextlib import contextmanager

import pytest
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus
from sqlalchemy import TIMESTAMP, func, inspect, select, text, true

from models import taking_over
from models.audit import audit_sale
from models.connections import BoundedConnection
from models.database import database_now, transaction
from models.gate import admit
from models.purchase import Kind, Purchase
from models.sale import FlashSale
from models.sale_rules import SaleNotFoundError, lock_sale
from models.settle import settle_turn
from models.taking_over import BusyError, take_over

PATIENCE_SECONDS = 60


@contextmanager
def settling_waits(sale_id):
    """Somebody has the sale's row, for the block, and settling waits for it; yields the session that has it."""
    failed = []

    def settle():
        try:
            settle_turn(sale_id)
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    thread = threading.Thread(target=settle)
    with transaction() as session:
        lock_sale(session, sale_id)
        thread.start()
        while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            assert thread.is_alive(), failed
        yield session
    thread.join(PATIENCE_SECONDS)
    assert not failed


def settled(sale_id):
    with transaction() as session:
        return session.scalars(select(Purchase).where(Purchase.sale_id == sale_id).order_by(Purchase.ticket)).all()


def test_a_row_that_was_waited_for_is_read_as_it_is_then(make_sale):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)

    with settling_waits(sale.id) as session:
        session.execute(text("UPDATE flash_sales SET paused = true, revision = revision + 1"))

    assert [(each.status, each.revision) for each in settled(sale.id)] == [("rejected", sale.revision + 2)]
    assert audit_sale(sale.id).agrees


def test_the_clock_is_looked_at_when_the_row_is_had(make_sale):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)

    with settling_waits(sale.id) as session:
        let_go_at = database_now(session)

    assert settled(sale.id)[0].settled_at >= let_go_at


def test_control_a_clock_that_is_looked_at_before_the_row_is_early(make_sale, monkeypatch):
    early = taking_over.TURN.original.add_columns(func.clock_timestamp(type_=TIMESTAMP(timezone=True)).label("at"))
    turn = early.cte("turn")
    row = select(FlashSale).where(FlashSale.id == text(":sale_id"), turn.c.ours).with_for_update(of=FlashSale).lateral()
    asked = select(row, turn.c.ours, turn.c.at).select_from(turn.outerjoin(row, true()))
    monkeypatch.setattr(taking_over, "TAKE_OVER", asked)
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)

    with settling_waits(sale.id) as session:
        let_go_at = database_now(session)

    assert settled(sale.id)[0].settled_at < let_go_at


def test_who_is_not_the_one_does_not_wait_for_the_row(make_sale):
    sale = make_sale()

    with transaction() as first, transaction() as second:
        take_over(first, sale.id)
        with pytest.raises(BusyError):
            take_over(second, sale.id)


def test_the_wait_for_the_row_is_bounded_by_what_is_said_in_the_same_trip(make_sale, change_settings):
    sale = make_sale()
    change_settings(SETTLE_STALL_MS="1000", DATABASE_LOCK_MS="600000")

    with transaction() as first, transaction() as second:
        second.execute(text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10min'"))
        lock_sale(first, sale.id)
        with pytest.raises(LockNotAvailable):
            take_over(second, sale.id)


def test_the_bounds_are_those_of_this_transaction_alone(make_sale, change_settings):
    sale = make_sale()
    change_settings(SETTLE_STALL_MS="3210")

    def bounds(session):
        return [
            session.scalar(text(f"SHOW {name}")) for name in ("idle_in_transaction_session_timeout", "lock_timeout")
        ]

    with transaction() as session:
        before = bounds(session)
    with transaction() as session:
        take_over(session, sale.id)
        assert bounds(session) == ["3210ms", "4210ms"]
    with transaction() as session:
        assert bounds(session) == before


def test_the_row_is_nobodys_to_write_but_the_batchs(make_sale):
    sale = make_sale()

    with transaction() as session:
        locked, _ = take_over(session, sale.id)
        assert inspect(locked).session is None
        locked.sold = 1

    with transaction() as session:
        assert session.get_one(FlashSale, sale.id).sold == 0


def test_a_sale_that_is_not_there_is_nobodys(store):
    with transaction() as session, pytest.raises(SaleNotFoundError):
        take_over(session, 404)


@pytest.fixture
def trips(monkeypatch):
    """Counts how often PostgreSQL is waited for."""
    counted = []
    real = BoundedConnection.wait

    def wait(connection, *args, **named):
        before = connection.info.transaction_status
        answer = real(connection, *args, **named)
        # A commit of what is committed already goes nowhere.
        if {before, connection.info.transaction_status} != {TransactionStatus.IDLE}:
            counted.append(before)
        return answer

    monkeypatch.setattr(BoundedConnection, "wait", wait)
    return counted


def test_a_batch_is_two_questions_to_postgresql(make_sale, trips):
    sale = make_sale()
    for user in (1, 2):
        admit(sale.id, user, Kind.PURCHASE, 1)
        trips.clear()
        report = settle_turn(sale.id)

    assert report.settled == 1
    assert len(trips) == 2, "who settles, with the row and the clock; and all that is written, with its COMMIT"


def test_about_an_empty_line_postgresql_is_not_asked(make_sale, trips):
    sale = make_sale()
    trips.clear()

    report = settle_turn(sale.id)

    assert (report.settled, report.more, report.remaining, trips) == (0, False, None, [])
