"""The gate, the mailbox and settling, against the real servers."""

import pytest

from models import mailbox, rediskeys
from models.announce import KEPT_SECONDS, rebuild_view
from models.audit import audit_sale
from models.database import transaction
from models.errors import ConflictError, NotFoundError
from models.gate import KeyReusedError, admit
from models.purchase import Kind, Purchase
from models.purchases import as_it_stands, find_purchase
from models.redisclient import redis_client
from models.sales import patch_sale
from models.settle import settle_turn


def rows(sale_id):
    with transaction() as session:
        return session.query(Purchase).filter_by(sale_id=sale_id).order_by(Purchase.ticket).all()


def test_two_hundred_units_go_to_the_first_two_hundred_in_line(make_sale, sale_row, waiting):
    sale = make_sale(total_stock=200)
    for user_id in range(1, 301):
        assert admit(sale.id, user_id, Kind.PURCHASE, 1).ticket == user_id

    report = settle_turn(sale.id)

    assert (report.settled, report.confirmed, report.rejected, report.remaining) == (300, 200, 100, 0)
    outcomes = [(row.ticket, row.status) for row in rows(sale.id)]
    assert outcomes == [(n, "confirmed" if n <= 200 else "rejected") for n in range(1, 301)]
    after = sale_row(sale.id)
    assert (after.sold, after.reserved, after.remaining, after.settled_through) == (200, 0, 0, 300)
    assert (after.state, after.end_reason) == ("ended", "sold-out")
    assert waiting(sale.id) == 0
    with pytest.raises(ConflictError) as refusal:
        admit(sale.id, 999, Kind.PURCHASE, 1)
    assert refusal.value.code == "SOLD_OUT"


def test_a_retry_with_the_same_key_gets_the_same_ticket_and_another_body_is_refused(make_sale):
    sale = make_sale()
    first = admit(sale.id, 7, Kind.PURCHASE, 2, idempotency_key="abc")

    again = admit(sale.id, 7, Kind.PURCHASE, 2, idempotency_key="abc")

    assert (again.ticket, again.replayed) == (first.ticket, True)
    with pytest.raises(KeyReusedError):
        admit(sale.id, 7, Kind.PURCHASE, 1, idempotency_key="abc")
    assert admit(sale.id, 8, Kind.PURCHASE, 1, idempotency_key="abc").ticket == first.ticket + 1


def test_the_gate_rebuilds_its_view_and_its_floor_when_redis_forgot_everything(make_sale):
    sale = make_sale()
    for user_id in (1, 2, 3):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    settle_turn(sale.id)
    redis_client().flushall()

    assert admit(sale.id, 4, Kind.PURCHASE, 1).ticket == 4
    assert settle_turn(sale.id).confirmed == 1
    with pytest.raises(NotFoundError):
        admit(sale.id + 1, 4, Kind.PURCHASE, 1)


def test_a_ticket_that_redis_gives_out_twice_lines_up_anew(make_sale):
    sale = make_sale()
    for user_id in (1, 2, 3):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    settle_turn(sale.id)
    # Redis comes back from a copy that was made before anyone bought.
    box = rediskeys.mailbox(sale.id)
    redis_client().delete(box)
    redis_client().xadd(box, {"u": 9, "k": "p", "q": 1, "n": "other", "t": 4102444800000, "i": "key"}, id="0-2")

    settle_turn(sale.id)

    last = rows(sale.id)[-1]
    assert (last.ticket, last.user_id, last.status, last.original_ticket) == (4, 9, "confirmed", 2)
    assert mailbox.moved_to(sale.id, 2, 9) == 4
    assert admit(sale.id, 9, Kind.PURCHASE, 1, idempotency_key="key").ticket == 4


def test_a_ticket_given_out_twice_is_not_trimmed_by_a_telling_that_did_not_read_it(make_sale):
    sale = make_sale()
    for user_id in (1, 2, 3):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    settle_turn(sale.id)
    box = rediskeys.mailbox(sale.id)
    redis_client().delete(box, rediskeys.view(sale.id))
    redis_client().xadd(box, {"u": 9, "k": "p", "q": 1, "n": "other", "t": 4102444800000}, id="0-2")

    assert rebuild_view(sale.id)
    settle_turn(sale.id)

    last = rows(sale.id)[-1]
    assert (last.ticket, last.user_id, last.status, last.original_ticket) == (4, 9, "confirmed", 2)


def test_what_a_crash_left_behind_after_the_commit_is_told_again_and_never_decided_again(make_sale, sale_row, waiting):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    [(entry_id, fields)] = redis_client().xrange(rediskeys.mailbox(sale.id))
    settle_turn(sale.id)
    box = rediskeys.mailbox(sale.id)
    redis_client().delete(box)
    redis_client().xadd(box, fields, id=entry_id)

    report = settle_turn(sale.id)

    assert report.settled == 0
    assert sale_row(sale.id).sold == 1
    assert waiting(sale.id) == 0


def test_what_is_no_request_keeps_its_ticket_and_stops_nobody(make_sale):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    redis_client().xadd(rediskeys.mailbox(sale.id), {"u": "99999999999999999999", "x": "?"}, id="0-*")
    admit(sale.id, 2, Kind.PURCHASE, 1)

    settle_turn(sale.id)

    assert [(row.status, row.reason) for row in rows(sale.id)] == [
        ("confirmed", None),
        ("rejected", "MALFORMED"),
        ("confirmed", None),
    ]


def test_a_key_that_redis_forgot_is_still_known_to_the_line(make_sale, sale_row):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="abc")
    settle_turn(sale.id)
    redis_client().flushall()
    admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="abc")

    settle_turn(sale.id)

    first, second = rows(sale.id)
    assert (second.status, second.reason, second.duplicate_of) == ("rejected", "DUPLICATE", first.ticket)
    assert sale_row(sale.id).sold == 1


@pytest.mark.parametrize(
    ("kind", "quantity", "told"),
    [
        (Kind.PURCHASE, 1, (1, "confirmed", None)),
        (Kind.PURCHASE, 3, (2, "rejected", "DUPLICATE")),
        (Kind.RESERVATION, 1, (2, "rejected", "DUPLICATE")),
    ],
    ids=["the same", "more units", "a hold"],
)
def test_only_the_same_request_is_told_the_firsts_outcome_under_a_key_that_redis_forgot(
    make_sale, sale_row, kind, quantity, told
):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="abc")
    settle_turn(sale.id)
    redis_client().flushall()
    ticket = admit(sale.id, 1, kind, quantity, idempotency_key="abc").ticket
    settle_turn(sale.id)

    found = find_purchase(sale.id, ticket, viewer_id=1)

    assert (found.ticket, found.status, found.reason) == told
    assert (found.kind, found.quantity) == (kind, quantity)
    assert as_it_stands(sale.id, ticket, None, viewer_id=1) == found
    assert find_purchase(sale.id, ticket, viewer_id=9, is_admin=True) == found
    after = sale_row(sale.id)
    assert (after.sold, after.reserved, audit_sale(sale.id).agrees) == (1, 0, True)


def test_redis_forgets_a_sale_that_is_over_but_never_one_that_somebody_waits_for(make_sale):
    sale = make_sale(total_stock=1)
    keys = [rediskeys.view(sale.id), rediskeys.mailbox(sale.id), rediskeys.events(sale.id)]
    for user_id in (1, 2):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    settle_turn(sale.id, batches=1, batch_max=1)
    assert [redis_client().ttl(key) for key in keys] == [-1, -1, -1]

    settle_turn(sale.id)

    assert all(0 < redis_client().ttl(key) <= KEPT_SECONDS for key in keys)
    patch_sale(sale.id, {"total_stock": 5}, actor_id=1)
    assert [redis_client().ttl(key) for key in keys] == [-1, -1, -1]
