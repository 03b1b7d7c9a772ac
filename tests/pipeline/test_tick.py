"""A tick is several chores in one message: each is done whatever becomes of the others."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from models import rediskeys, tasks
from models.audit import audit_sale
from models.database import transaction
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settle import settle_turn
from worker.app import app
from worker.chores import open_due, recount_audits, tick

# What PostgreSQL then says to whoever opens a sale.
FORBID_OPENING = "ALTER TABLE flash_sales ADD CONSTRAINT nothing_opens CHECK (state <> 'live' OR title <> 'Forbidden')"
ALLOW_OPENING = "ALTER TABLE flash_sales DROP CONSTRAINT nothing_opens"
# A hold cannot be made to end in the past by the shop itself.
LET_HOLDS_RUN_OUT = "UPDATE purchases SET expires_at = now() - interval '1 second' WHERE status = 'reserved'"


def run(statement: str) -> None:
    with transaction() as session:
        session.execute(text(statement))


@pytest.fixture
def _opening_fails(store):
    run(FORBID_OPENING)
    yield
    run(ALLOW_OPENING)


def a_hold(sale_id: int) -> int:
    """A hold that has run out; returns its ticket."""
    ticket = admit(sale_id, 1, Kind.RESERVATION, 1).ticket
    settle_turn(sale_id)
    run(LET_HOLDS_RUN_OUT)
    return ticket


def test_a_tick_opens_ends_releases_and_says_that_it_came(make_sale, sale_row):
    opening = make_sale(opens_in=timedelta(milliseconds=1))
    ending = make_sale(lasts=timedelta(milliseconds=1))
    holding = make_sale(total_stock=5)
    a_hold(holding.id)

    while sale_row(ending.id).state != "ended" or sale_row(opening.id).state != "live":
        tick()

    assert sale_row(holding.id).reserved == 0
    assert redis_client().exists(rediskeys.BEAT_HEARTBEAT) == 1


@pytest.mark.usefixtures("_opening_fails")
def test_a_step_that_fails_keeps_no_other_from_being_done(make_sale, sale_row):
    forbidden = make_sale(opens_in=timedelta(milliseconds=1), title="Forbidden")
    ending = make_sale(lasts=timedelta(milliseconds=1))
    holding = make_sale(total_stock=5)
    a_hold(holding.id)

    failures = 0
    while sale_row(ending.id).state != "ended" or not failures:
        try:
            tick()
        except IntegrityError:
            failures += 1

    assert sale_row(forbidden.id).state == "scheduled"
    assert sale_row(holding.id).reserved == 0
    assert redis_client().exists(rediskeys.BEAT_HEARTBEAT) == 1


def test_what_a_tick_does_can_be_sent_by_itself_as_an_older_beat_does(store):
    open_due()

    assert redis_client().exists(rediskeys.BEAT_HEARTBEAT) == 1, "or newer chores would call an older beat dead"
    assert {*tasks.EVERY, *tasks.EVERY_TICK} <= app.tasks.keys()
    assert not set(tasks.EVERY) & set(tasks.EVERY_TICK)


@pytest.mark.timeout(120)
def test_books_are_recounted_while_redis_is_away(store, make_sale):
    """Only the refusals, which Redis counts, are kept a minute later."""
    sound, wrong = make_sale(), make_sale()
    with transaction() as session:
        session.execute(text("DELETE FROM stock_movements WHERE sale_id = :id"), {"id": wrong.id})
    store.valkey.kill()
    try:
        disagreements = recount_audits()
    finally:
        store.valkey.start()
        redis_client().connection_pool.disconnect()

    assert (audit_sale(sound.id).agrees, disagreements) == (True, 1)
