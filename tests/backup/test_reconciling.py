"""A restore whose two halves come from different moments: the books stay exact, and no ticket is given out twice."""

import pytest

from models import mailbox, rediskeys
from models.announce import rebuild_view
from models.audit import audit_sale
from models.database import transaction
from models.gate import Admission, admit
from models.heartbeats import beat
from models.purchase import Kind, Purchase
from models.purchases import find_purchase
from models.redisclient import redis_client
from models.restored import anybody_is_at_work, reconcile
from models.settle import settle_turn


def buy(sale_id: int, user_id: int, key: str | None = None) -> Admission:
    return admit(sale_id, user_id, Kind.PURCHASE, 1, idempotency_key=key)


def tickets(sale_id: int) -> dict[int, int]:
    """Who has which ticket, by PostgreSQL."""
    with transaction() as session:
        return {row.ticket: row.user_id for row in session.query(Purchase).filter_by(sale_id=sale_id)}


def in_line(sale_id: int) -> dict[int, int]:
    return {request.ticket: request.user_id for request in mailbox.read(sale_id, 100)}


def test_a_redis_that_is_older_gives_no_ticket_out_twice(copy, make_sale):
    sale = make_sale(total_stock=50)
    for user in (1, 2, 3):
        buy(sale.id, user)
    before = copy()
    for user in (4, 5):
        buy(sale.id, user)
    settle_turn(sale.id)
    before.bring_back_redis()

    done = reconcile()

    assert (done.already_settled, done.waiting, done.moved) == (3, 0, 0)
    assert buy(sale.id, 6).ticket == 6
    settle_turn(sale.id)
    assert tickets(sale.id) == {ticket: ticket for ticket in range(1, 7)}
    assert audit_sale(sale.id).agrees


def test_without_it_an_older_redis_gives_tickets_out_that_were_settled(copy, make_sale):
    """The control: strays are mended by settle, but their buyers hold a ticket that was another's."""
    sale = make_sale(total_stock=50)
    before = copy()
    buy(sale.id, 1)
    settle_turn(sale.id)
    before.bring_back_redis()

    assert buy(sale.id, 2).ticket == 1


def test_what_waited_in_an_older_redis_and_was_never_settled_is_still_in_line(copy, make_sale):
    sale = make_sale(total_stock=50)
    for user in (1, 2, 3, 4):
        buy(sale.id, user)
    before = copy()
    settle_turn(sale.id, batches=1, batch_max=2)
    before.bring_back_redis()

    done = reconcile()

    assert (done.already_settled, done.waiting, done.moved) == (2, 2, 0)
    assert in_line(sale.id) == {3: 3, 4: 4}
    settle_turn(sale.id)
    assert audit_sale(sale.id).agrees


def test_a_redis_that_is_newer_leaves_no_gap_in_the_line(copy, make_sale):
    sale = make_sale(total_stock=50)
    buy(sale.id, 1)
    settle_turn(sale.id)
    before = copy()
    for user in (2, 3, 4, 5):
        buy(sale.id, user, key=f"key-{user}")
    settle_turn(sale.id, batches=1, batch_max=2)  # the outcomes of 2 and 3 are lost with this PostgreSQL
    before.bring_back_postgres()

    done = reconcile()

    assert (done.waiting, done.moved) == (2, 2)
    assert in_line(sale.id) == {2: 4, 3: 5}
    settle_turn(sale.id)
    assert tickets(sale.id) == {1: 1, 2: 4, 3: 5}
    assert audit_sale(sale.id).agrees


def test_without_it_a_newer_redis_leaves_a_gap_that_the_audit_finds(copy, make_sale):
    """The control."""
    sale = make_sale(total_stock=50)
    buy(sale.id, 1)
    settle_turn(sale.id)
    before = copy()
    for user in (2, 3, 4):
        buy(sale.id, user)
    settle_turn(sale.id, batches=1, batch_max=2)
    before.bring_back_postgres()

    settle_turn(sale.id)

    assert not audit_sale(sale.id).agrees


def test_a_buyer_who_was_moved_finds_the_request_under_the_ticket_they_hold(copy, make_sale):
    sale = make_sale(total_stock=50)
    before = copy()
    buy(sale.id, 1)
    held = buy(sale.id, 2).ticket
    settle_turn(sale.id, batches=1, batch_max=1)
    before.bring_back_postgres()

    reconcile()

    assert find_purchase(sale.id, held, viewer_id=2).status == "queued"
    settle_turn(sale.id)
    assert find_purchase(sale.id, held, viewer_id=2).ticket == 1
    assert find_purchase(sale.id, held, viewer_id=2).status == "confirmed"


def test_a_key_answers_with_its_request_or_is_free_again(copy, make_sale):
    sale = make_sale(total_stock=50)
    settled_before = buy(sale.id, 1, key="mine").ticket
    settle_turn(sale.id)
    before = copy()
    buy(sale.id, 2, key="mine")  # its outcome will be lost
    settle_turn(sale.id)
    buy(sale.id, 3, key="mine")  # waits
    before.bring_back_postgres()

    done = reconcile()

    assert (done.keys_corrected, done.keys_forgotten) == (1, 1)
    assert buy(sale.id, 1, key="mine").ticket == settled_before
    again = buy(sale.id, 3, key="mine")
    assert (again.ticket, again.replayed) == (2, True)
    anew = buy(sale.id, 2, key="mine")
    assert (anew.ticket, anew.replayed) == (3, False)
    settle_turn(sale.id)
    assert tickets(sale.id) == {1: 1, 2: 3, 3: 2}
    assert audit_sale(sale.id).agrees


def test_a_key_that_only_postgres_knows_is_answered_with_the_first_outcome(copy, make_sale):
    sale = make_sale(total_stock=50)
    before = copy()
    first = buy(sale.id, 1, key="mine").ticket
    settle_turn(sale.id)
    before.bring_back_redis()

    reconcile()
    again = buy(sale.id, 1, key="mine")
    settle_turn(sale.id)

    assert find_purchase(sale.id, again.ticket, viewer_id=1).ticket == first
    assert sum(1 for _ in tickets(sale.id)) == 2
    assert audit_sale(sale.id).agrees


def test_the_gate_sells_what_postgres_says_is_left_though_redis_said_sold_out(copy, make_sale):
    sale = make_sale(total_stock=1)
    before = copy()
    buy(sale.id, 1)
    settle_turn(sale.id)
    before.bring_back_postgres()

    reconcile()
    buy(sale.id, 2)
    settle_turn(sale.id)

    assert tickets(sale.id) == {1: 2}
    assert audit_sale(sale.id).agrees


def test_a_request_that_had_been_moved_before_is_not_settled_a_second_time(copy, make_sale):
    """Its entry in the older Redis stands under a ticket that was another's."""
    sale = make_sale(total_stock=50)
    empty = copy()
    buy(sale.id, 1)
    settle_turn(sale.id)
    empty.bring_back_redis()
    buy(sale.id, 2)  # is given ticket 1 again
    stray = copy()
    settle_turn(sale.id)
    settle_turn(sale.id)
    assert tickets(sale.id) == {1: 1, 2: 2}
    stray.bring_back_redis()

    reconcile()
    settle_turn(sale.id)

    assert tickets(sale.id) == {1: 1, 2: 2}
    assert audit_sale(sale.id).agrees


def test_keys_of_a_sale_that_postgres_does_not_know_are_gone(copy, make_sale):
    before = copy()
    sale = make_sale()
    buy(sale.id, 1)
    before.bring_back_postgres()

    assert reconcile().unknown_sales == 1
    assert list(redis_client().scan_iter(match=f"{{sale:{sale.id}}}:*")) == []


def test_it_may_run_twice(copy, make_sale):
    sale = make_sale(total_stock=50)
    before = copy()
    for user in (1, 2, 3):
        buy(sale.id, user, key="mine")
    settle_turn(sale.id, batches=1, batch_max=1)
    before.bring_back_postgres()

    reconcile()
    once = in_line(sale.id)
    again = reconcile()

    assert in_line(sale.id) == once == {1: 2, 2: 3}
    assert (again.waiting, again.moved, again.keys_corrected, again.keys_forgotten) == (2, 0, 0, 0)


def test_what_is_no_request_keeps_its_place_in_the_line(store, make_sale):
    sale = make_sale(total_stock=50)
    rebuild_view(sale.id)
    redis_client().xadd(rediskeys.mailbox(sale.id), {"nonsense": "1"}, id="0-7")
    buy(sale.id, 1)

    reconcile()

    assert in_line(sale.id) == {1: 0, 2: 1}
    settle_turn(sale.id)
    assert audit_sale(sale.id).agrees


def test_what_somebody_else_left_among_our_keys_stops_nothing(copy, make_sale):
    sale = make_sale(total_stock=50)
    buy(sale.id, 1)
    settle_turn(sale.id)
    redis_client().delete(rediskeys.mailbox(sale.id))
    redis_client().set(rediskeys.mailbox(sale.id), "no stream")
    for odd in ("nobody", "x:y", "9" * 30 + ":once"):
        redis_client().set(f"{rediskeys.idempotency_prefix(sale.id)}{odd}", "nothing")
    redis_client().set("{sale:none}:view", "nothing")

    assert reconcile().keys_forgotten == 3
    assert buy(sale.id, 2).ticket == 2
    settle_turn(sale.id)
    assert audit_sale(sale.id).agrees


@pytest.mark.parametrize("who", ["a worker", "beat"])
def test_a_line_is_not_rewritten_under_somebody_who_works(store, app_runner, who):
    if who == "beat":
        redis_client().set(rediskeys.BEAT_HEARTBEAT, "1", ex=10)
    else:
        beat("settle-1@test", ["settlements"])

    assert anybody_is_at_work()
    result = app_runner.invoke(args=["restored"])
    assert result.exit_code == 1
    assert "stop everything" in result.output
    alone = app_runner.invoke(args=["restored", "--alone"])
    assert (alone.exit_code, "every book agrees" in alone.output) == (0, True), "a copy remembers who lived then"


def test_the_command_recounts_every_sale_and_says_which_is_wrong(store, app_runner, make_sale):
    sale = make_sale(total_stock=50)
    buy(sale.id, 1)
    settle_turn(sale.id)
    assert "every book agrees" in app_runner.invoke(args=["restored"]).output

    with transaction() as session:
        session.query(Purchase).delete()

    result = app_runner.invoke(args=["restored"])
    assert result.exit_code == 1
    assert f"do not agree: {sale.id}" in result.output
