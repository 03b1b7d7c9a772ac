"""The gate's early answers, each in its own words, and what it never does."""

from datetime import timedelta

import pytest

from models import rediskeys, sales
from models.clock import from_ms
from models.errors import ConflictError, DomainError
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settings import settings
from models.settle import settle_turn


def refusal(sale_id, quantity=1, user_id=1):
    with pytest.raises(DomainError) as caught:
        admit(sale_id, user_id, Kind.PURCHASE, quantity)
    return caught.value


def test_before_the_start_it_says_when_the_start_is(make_sale, waiting):
    sale = make_sale(opens_in=timedelta(hours=1))

    error = refusal(sale.id)

    assert error.code == "NOT_STARTED"
    assert error.data["startsAt"].endswith("Z")
    assert waiting(sale.id) == 0


def test_it_opens_to_the_millisecond_by_its_own_clock_whatever_beat_does(make_sale, sale_row):
    sale = make_sale(opens_in=timedelta(milliseconds=300))
    ticket, last_refused = None, sale.starts_at
    while ticket is None:
        seconds, microseconds = redis_client().time()
        asked_at = from_ms(seconds * 1000 + microseconds // 1000)
        try:
            ticket = admit(sale.id, 1, Kind.PURCHASE, 1).ticket
        except ConflictError:
            last_refused = asked_at
    [(_, fields)] = redis_client().xrange(rediskeys.mailbox(sale.id))
    admitted_at = from_ms(int(fields["t"]))

    assert ticket == 1
    # Stretched by what the clock of the gate does not tell, which is less than a millisecond.
    assert last_refused - timedelta(milliseconds=1) <= sale.starts_at <= admitted_at + timedelta(milliseconds=1)
    assert sale_row(sale.id).state == "scheduled"
    assert settle_turn(sale.id).confirmed == 1
    assert sale_row(sale.id).state == "live"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (sales.pause_sale, "PAUSED"),
        (sales.end_sale, "ENDED"),
        (sales.cancel_sale, "ENDED"),
        (sales.archive_sale, "ENDED"),
    ],
)
def test_what_an_operator_does_is_known_at_the_gate_at_once(make_sale, change, code):
    sale = make_sale()

    change(sale.id)

    assert refusal(sale.id).code == code


def test_more_than_one_may_have_and_more_than_there_is(make_sale):
    sale = make_sale(total_stock=5, max_per_purchase=3, max_per_user=2)

    assert (refusal(sale.id, 4).code, refusal(sale.id, 4).data) == ("LIMIT_EXCEEDED", {"limit": 3})
    assert refusal(sale.id, 3).data == {"limit": 2}
    small = make_sale(total_stock=5)
    assert (refusal(small.id, 6).code, refusal(small.id, 6).data) == ("INSUFFICIENT_STOCK", {"availableUnits": 5})


def test_a_full_line_is_said_to_be_full_and_goes_on_when_it_is_shorter(make_sale, monkeypatch):
    sale = make_sale()
    bounded = settings().model_copy(update={"line_max": 3})
    monkeypatch.setattr("models.gateparts.settings", lambda: bounded)
    for user_id in (1, 2, 3):
        admit(sale.id, user_id, Kind.PURCHASE, 1)

    assert refusal(sale.id).code == "LINE_FULL"
    settle_turn(sale.id)
    assert admit(sale.id, 4, Kind.PURCHASE, 1).ticket == 4


def test_a_retry_has_its_answer_even_after_the_sale_is_over(make_sale):
    sale = make_sale(total_stock=1)
    first = admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="k")
    settle_turn(sale.id)
    assert refusal(sale.id, user_id=2).code == "SOLD_OUT"

    assert admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="k").ticket == first.ticket


def test_one_wake_up_is_asked_for_until_settle_begins(make_sale):
    sale = make_sale()

    assert [admit(sale.id, user, Kind.PURCHASE, 1).wake for user in (1, 2, 3)] == [True, False, False]
    settle_turn(sale.id)
    assert admit(sale.id, 4, Kind.PURCHASE, 1).wake is True


def test_a_place_in_line_says_how_many_are_ahead_and_about_how_long(make_sale):
    sale = make_sale()
    for user_id in range(1, 11):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    settle_turn(sale.id)

    places = [admit(sale.id, user, Kind.PURCHASE, 1) for user in (11, 12, 13)]

    assert [place.position for place in places] == [0, 1, 2]
    assert 0 < places[0].estimate_seconds <= places[2].estimate_seconds < 5


def test_a_waiting_request_takes_less_than_three_hundred_bytes(make_sale):
    sale = make_sale(total_stock=100_000)
    before = redis_client().memory_usage(rediskeys.mailbox(sale.id), samples=0) or 0

    for user_id in range(1, 2001):
        admit(sale.id, 10**9 + user_id, Kind.PURCHASE, 1)

    assert (redis_client().memory_usage(rediskeys.mailbox(sale.id), samples=0) - before) / 2000 < 300
