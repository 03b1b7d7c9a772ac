"""The sweeper beside a clock that was set back: a line from ahead of it is not left alone until it is there again."""

import pytest

from models import rediskeys
from models.gate import admit
from models.mailbox import mark_awake
from models.purchase import Kind
from models.redisclient import redis_client
from models.schedule import sweep_lines

HOUR_MS = 3_600_000


@pytest.fixture
def dated(make_sale):
    """dated(milliseconds) -> a sale whose one request was admitted so long from now, by the clock as it is."""

    def make(ahead_ms: int):
        sale = make_sale()
        admit(sale.id, 1, Kind.PURCHASE, 1)
        line = rediskeys.mailbox(sale.id)
        [(entry_id, fields)] = redis_client().xrange(line)
        redis_client().delete(line)
        redis_client().xadd(line, fields | {"t": str(int(fields["t"]) + ahead_ms)}, id=entry_id)
        return sale

    return make


def test_a_request_from_before_the_clock_was_set_back_is_found_and_its_sale_is_woken(dated):
    sale = dated(HOUR_MS)
    # The gate's flag lives longer by the step as well.
    redis_client().set(rediskeys.awake(sale.id), "1", px=HOUR_MS + rediskeys.AWAKE_MS)

    assert [(line.sale_id, line.waited_ms) for line in sweep_lines()] == [(sale.id, 0)]
    assert mark_awake(sale.id)
    assert redis_client().pttl(rediskeys.awake(sale.id)) <= rediskeys.AWAKE_MS


def test_a_request_that_came_this_moment_is_left_to_whoever_was_woken_for_it(dated):
    """The control: also one that came after the sweeper had looked at the clock."""
    for ahead_ms in (0, 500):
        dated(ahead_ms)

    assert sweep_lines() == []
