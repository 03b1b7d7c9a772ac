"""Who works, the sales themselves, and the crowd that is expected: what is wrong with them is found and named."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from models import rediskeys
from models.announce import rebuild_view
from models.database import transaction
from models.gate import admit
from models.movement import StockMovement
from models.purchase import Kind
from models.redisclient import redis_client
from models.sale import SaleState
from tests.doctor.conftest import CRITICAL, WARNED, eventually, redis_setting


@contextmanager
def stopped(shop, name: str) -> Iterator[None]:
    shop.stop_process(name)
    try:
        yield
    finally:
        shop.start_process(name)


@contextmanager
def held(shop, name: str) -> Iterator[None]:
    """The process is there, and does nothing."""
    shop.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        shop.signal(name, signal.SIGCONT)


# Who works


def test_nobody_who_settles_is_found(healthy, doctor):
    with stopped(healthy, "worker"):
        eventually(lambda: "NO_SETTLE_WORKER" in doctor()[1], "the heartbeat has run out")
        status, found = doctor()

    assert status == CRITICAL
    assert set(found) == {"NO_SETTLE_WORKER", "WORKER_SILENT"}


def test_a_beat_that_is_silent_is_found(healthy, doctor):
    with stopped(healthy, "beat"):
        eventually(lambda: not redis_client().exists(rediskeys.BEAT_HEARTBEAT), "its last tick has run out")
        status, found = doctor()

    assert (status, list(found)) == (CRITICAL, ["BEAT_SILENT"])


def test_a_worker_that_hangs_is_found(healthy, doctor):
    with held(healthy, "chores"):
        eventually(lambda: "NO_CHORES_WORKER" in doctor()[1], "its heartbeat has run out")


def test_a_broker_that_is_away_is_found(healthy, doctor):
    status, found = doctor(BROKER_URL="amqp://127.0.0.1:1//")

    assert (status, list(found)) == (CRITICAL, ["BROKER_AWAY"])


def test_a_sale_whose_own_worker_was_never_started_is_found(healthy, doctor, make_sale):
    sale = make_sale(opens_in=timedelta(minutes=5), dedicated=True)

    status, found = doctor()

    assert (status, list(found)) == (WARNED, ["NO_DEDICATED_WORKER"])
    assert f"--queues sale.{sale.id}" in found["NO_DEDICATED_WORKER"]["cure"]


# Sales


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"total_stock": 0}, "has no stock"),
        ({"total_stock": 5, "max_per_user": 6}, "lets one buyer have 6 (maxPerUser) of 5 units"),
        ({"total_stock": 5, "max_per_purchase": 6}, "lets one buyer have 6 (maxPerPurchase) of 5 units"),
        ({"max_per_purchase": 3, "max_per_user": 2}, "allows more in one purchase than to one buyer"),
        ({"flash_price": None, "original_price": None}, "has no price"),
        ({"lasts": timedelta(seconds=5), "hold_seconds": 1}, "lasts 5 s"),
        ({"lasts": timedelta(minutes=1), "hold_seconds": 600}, "is over before its holds are"),
        ({"paused": True}, "is paused"),
    ],
)
def test_a_sale_that_cannot_be_meant_so_is_found(healthy, doctor, make_sale, odd, said):
    make_sale(opens_in=timedelta(hours=1), **odd)

    status, found = doctor()

    assert (status, list(found)) == (WARNED, ["SALE_ODD"])
    assert said in found["SALE_ODD"]["what"]


def test_a_sale_that_nobody_opened_is_found(healthy, doctor, make_sale):
    with stopped(healthy, "chores"):
        make_sale(opens_in=timedelta(seconds=-60), state=SaleState.SCHEDULED)
        status, found = doctor()

    assert status == CRITICAL
    assert "is scheduled 6" in found["SALE_LATE"]["what"]


def test_books_that_disagree_are_found(healthy, doctor, make_sale):
    make_sale(total_stock=10)
    with transaction() as session:
        session.query(StockMovement).delete()

    status, found = doctor()

    assert (status, list(found)) == (CRITICAL, ["AUDIT_DISAGREES"])
    assert "totalStock" in found["AUDIT_DISAGREES"]["what"]


def test_a_line_that_nobody_works_off_is_found(healthy, doctor, make_sale):
    sale = make_sale(total_stock=10)
    with stopped(healthy, "worker"):
        entry = {"u": 1, "k": "p", "q": 1, "n": "a nonce", "t": 1}
        redis_client().xadd(rediskeys.mailbox(sale.id), entry, id="0-1")
        status, found = doctor()

    assert status == CRITICAL
    assert f"a request for sale {sale.id} has waited" in found["LINE_STUCK"]["what"]


def test_a_redis_that_knows_more_than_postgres_is_found(healthy, doctor, make_sale):
    sale = make_sale(total_stock=10)
    # A view of one field alone could not be read, and would give way to the next that is told.
    rebuild_view(sale.id)
    # The sweeper makes such a view anew every two seconds.
    with held(healthy, "chores"):
        redis_client().hset(rediskeys.view(sale.id), "revision", 99)
        status, found = doctor()

    assert (status, list(found)) == (CRITICAL, ["RESTORED_APART"])


# The crowd


def test_a_crowd_that_fits_is_no_finding(healthy, doctor, make_sale):
    sale = make_sale(opens_in=timedelta(minutes=5))

    assert doctor("--sale", str(sale.id), "--crowd", "2000") == (0, {})


def test_a_crowd_that_is_too_large_is_told_what_it_would_take(healthy, doctor, make_sale):
    sale = make_sale(opens_in=timedelta(minutes=5))

    status, found = doctor("--sale", str(sale.id), "--crowd", "2000000")

    assert status == WARNED
    assert set(found) == {"LINE_SHORT", "DOOR_NARROW", "SOCKETS_FEW"}
    assert found["LINE_SHORT"]["cure"] == "LINE_MAX=4000000"
    assert "WEB_WORKERS=" in found["DOOR_NARROW"]["cure"]


def test_a_line_that_redis_has_no_memory_for_is_found(healthy, doctor):
    with redis_setting("maxmemory", str(100 << 20)):
        status, found = doctor("--crowd", "200000", WEB_WORKERS="16", LIVE_WORKERS="40", DATABASE_POOL_SIZE="2")

    # Whether so many sockets are found to be too few is a matter of what was measured.
    assert (status, found.keys() - {"SOCKETS_FEW"}) == (CRITICAL, {"REDIS_MEMORY_SHORT"})


def test_a_request_in_the_line_takes_no_more_memory_than_is_counted_on(store, make_sale):
    from models.doctor.capacity import BYTES_PER_REQUEST  # noqa: PLC0415

    sale = make_sale(total_stock=10_000)
    admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="the first")
    before = redis_client().info("memory")["used_memory"]
    # Nothing here rests on the disk, and the worker of the shop is not to come to this line before it was weighed.
    with redis_setting("appendfsync", "no"):
        for user in range(2, 3_002):
            admit(sale.id, user, Kind.PURCHASE, 1, idempotency_key="7b1f3c1e-8f3e-4f6e-9d55-0d6a5a1f2b3c")

    taken = (redis_client().info("memory")["used_memory"] - before) / 3_000

    assert BYTES_PER_REQUEST / 6 < taken < BYTES_PER_REQUEST


def test_a_sale_that_is_not_there_is_said_to_be(healthy, doctor):
    assert list(doctor("--sale", "4711", "--crowd", "10")[1]) == ["SALE_UNKNOWN"]
