"""A crowd that finds Redis without the view of its sale: each may make it anew, and none is in the way of another."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from models import announce, rediskeys
from models.gate import admit
from models.gateline import GateBrokenError
from models.purchase import Kind
from models.redisclient import redis_client
from models.schedule import sweep_lines

CROWD = 8
ROUNDS = 15
# The control fails within a few rounds; more than this many would mean that it cannot fail.
CONTROL_ROUNDS = 300


def rounds_until_somebody_is_turned_away(sale_id, rounds):
    """Empty Redis and let the crowd in, again and again; the round in which the gate said that it is out of order."""
    with ThreadPoolExecutor(CROWD) as crowd:
        for number in range(rounds):
            redis_client().flushall()
            asked = [crowd.submit(admit, sale_id, user, Kind.PURCHASE, 1) for user in range(1, CROWD + 1)]
            if any(isinstance(one.exception(), GateBrokenError) for one in asked):
                return number
            assert len({one.result().ticket for one in asked}) == CROWD
    return None


def test_a_crowd_that_finds_no_view_is_let_in_whole(make_sale):
    assert rounds_until_somebody_is_turned_away(make_sale(total_stock=1000).id, ROUNDS) is None


def test_control_a_view_that_is_taken_away_before_it_is_made_anew_turns_somebody_away(make_sale, monkeypatch):
    rebuild_view = announce.rebuild_view

    def take_away_first(sale_id):
        redis_client().delete(rediskeys.view(sale_id))
        return rebuild_view(sale_id)

    monkeypatch.setattr(announce, "rebuild_view", take_away_first)

    assert rounds_until_somebody_is_turned_away(make_sale(total_stock=1000).id, CONTROL_ROUNDS) is not None


@pytest.mark.parametrize("field", ["starts_ms", "remaining", "settled_through", "max_per_user", "dedicated"])
def test_a_view_that_cannot_be_read_gives_way_whatever_revision_it_claims(make_sale, field):
    sale = make_sale()
    announce.rebuild_view(sale.id)
    redis_client().hset(rediskeys.view(sale.id), mapping={field: "x", "revision": 999, "left_behind": "y"})

    assert admit(sale.id, 1, Kind.PURCHASE, 1).ticket == 1

    view = redis_client().hgetall(rediskeys.view(sale.id))
    assert (view[field] != "x", "left_behind" in view) == (True, False)


def test_a_view_of_a_time_that_never_was_gives_way_but_not_one_that_came_after_it(make_sale):
    sale = make_sale()
    announce.rebuild_view(sale.id)
    key = rediskeys.view(sale.id)
    redis_client().hset(key, mapping={"revision": 999, "remaining": 3})

    announce.rebuild_view(sale.id, instead_of=998)
    assert redis_client().hget(key, "remaining") == "3"

    sweep_lines()
    assert redis_client().hmget(key, "revision", "remaining") == [str(sale.revision), str(sale.total_stock)]
