"""Whoever joins is shown the sale as everybody was told it, whether or not PostgreSQL has a moment."""

import pytest

from models import rediskeys
from models.database import engine
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settle import settle_turn


@pytest.fixture
def kill_postgres(servers):
    """kill_postgres() -> it is gone until the test ends"""
    yield servers.postgres.kill
    servers.postgres.start()
    engine().dispose()


def buy(sale_id, *buyers):
    for buyer in buyers:
        admit(sale_id, buyer, Kind.PURCHASE, 1)
    settle_turn(sale_id)


def test_joining_needs_no_postgresql_where_redis_knows_the_sale(live, make_sale, token_of, kill_postgres):
    sale, forgotten = make_sale(total_stock=5), make_sale()
    buy(sale.id, 1)
    redis_client().delete(rediskeys.view(forgotten.id))
    somebody, nobody = live.connect(token=token_of(1)), live.connect()
    kill_postgres()

    for client in (somebody, nobody):
        _, shown = client.send("joinFlashSale", flashSaleId=sale.id).hear()
        assert (shown["availableUnits"], shown["state"], shown["settledThrough"]) == (4, "live", 1)
    # The control: what Redis does not know needs PostgreSQL.
    _, refused = nobody.send("joinFlashSale", flashSaleId=forgotten.id).hear()
    assert refused["code"] == "UNAVAILABLE"


def test_who_comes_back_and_missed_nothing_needs_no_postgresql_either(live, make_sale, token_of, kill_postgres):
    sale = make_sale(total_stock=5)
    client = live.connect(token=token_of(1)).send("joinFlashSale", flashSaleId=sale.id)
    _, seen = client.hear()
    again = live.connect(token=token_of(1))
    kill_postgres()

    name, shown = again.send("joinFlashSale", flashSaleId=sale.id, since=seen["seq"]).hear()

    assert (name, shown | {"serverTime": ""}) == ("stockUpdate", seen | {"serverTime": ""})


BROKEN = {
    "forgotten": lambda key: redis_client().delete(key),
    "of another type": lambda key: (redis_client().delete(key), redis_client().lpush(key, "x")),
    "with a word for a number": lambda key: redis_client().hset(key, "sold", "many"),
    "with a state that there is not": lambda key: redis_client().hset(key, "state", "asleep"),
    "without a field": lambda key: redis_client().hdel(key, "total_stock"),
}


@pytest.mark.parametrize("harm", BROKEN.values(), ids=BROKEN)
def test_a_view_that_is_no_view_is_passed_over(live, make_sale, harm):
    sale = make_sale(total_stock=5)
    buy(sale.id, 1)
    harm(rediskeys.view(sale.id))

    name, shown = live.connect().send("joinFlashSale", flashSaleId=sale.id).hear()

    assert (name, shown["availableUnits"]) == ("stockUpdate", 4)


def test_nobody_is_shown_an_earlier_state_than_they_have_seen(live, make_sale, sale_row):
    """Redis was restored from an older copy: its view is behind what clients were told."""
    sale = make_sale(total_stock=5)
    old = redis_client().hgetall(rediskeys.view(sale.id))
    buy(sale.id, 1, 2)
    seen = sale_row(sale.id).revision
    redis_client().hset(rediskeys.view(sale.id), mapping=old)

    back = live.connect().send("joinFlashSale", flashSaleId=sale.id, since=seen)
    new = live.connect()

    assert back.hear()[1]["availableUnits"] == 3
    # Nor is anybody else in the room: they would miss what lies between.
    assert new.send("joinFlashSale", flashSaleId=sale.id).hear()[1]["availableUnits"] == 3


def test_a_sale_that_is_not_there_is_not_joined(live, make_sale):
    client = live.connect()

    for sale_id in (99, "another-systems"):
        client.send("joinFlashSale", flashSaleId=sale_id)
        assert client.hear()[1]["code"] == "SALE_NOT_FOUND"

    # What was refused takes none of the places that one client has.
    for sale_id in range(100, 160):
        client.send("joinFlashSale", flashSaleId=sale_id)
    assert client.send("joinFlashSale", flashSaleId=make_sale().id).hear_until("stockUpdate")


def test_whoever_has_seen_nothing_of_a_sale_has_missed_nothing_that_is_still_told(live, make_sale):
    sale = make_sale(total_stock=5)
    buy(sale.id, 1, 2)

    heard = live.connect().send("joinFlashSale", flashSaleId=sale.id, since=0).hear_until("stockUpdate", state="live")

    assert "eventsMissed" not in [name for name, _ in heard]


def test_whoever_has_seen_what_never_was_is_told_to_begin_anew(live, make_sale, token_of):
    """Where the shop was put back from a copy, its revisions begin again where the copy was made."""
    sale = make_sale(total_stock=5)
    buy(sale.id, 1)

    heard = (
        live.connect(token=token_of(1))
        .send("joinFlashSale", flashSaleId=sale.id, since=1_000_000)
        .hear_until("stockUpdate", state="live")
    )

    [missed] = [data for name, data in heard if name == "eventsMissed"]
    assert (missed["since"], missed["seq"]) == (1_000_000, heard[-1][1]["seq"])
    assert missed["seq"] < missed["since"]
    # Its purchases may have gone back as well.
    assert "purchaseSettled" in [name for name, _ in heard]
