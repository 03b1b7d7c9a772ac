"""A rush through the gate, settled by real Celery workers that are killed, stopped and doubled."""

import signal
import time
from datetime import timedelta

from models import rediskeys
from models.redisclient import redis_client
from models.sales import pause_sale, resume_sale
from tests.pipeline.conftest import Rush, assert_exact, drained, eventually, settled
from web.wake import waker


def test_a_rush_is_settled_by_one_worker_and_sells_exactly_its_units(make_sale, processes):
    sale = make_sale(total_stock=200)
    processes.start("worker")
    processes.wait_ready("worker")

    rush = Rush([sale.id], 2000).start().wait()

    eventually(lambda: drained(sale.id), "the line is empty")
    assert_exact(rush, sale.id, 200)


def test_two_workers_on_two_sales_at_once_sell_each_exactly(make_sale, processes):
    one, two = make_sale(total_stock=100), make_sale(total_stock=50)
    for name in ("worker-1", "worker-2"):
        processes.start("worker", name)
    processes.wait_ready("worker-1", "worker-2")

    rush = Rush([one.id, two.id], 1500, quantity=3).start().wait()

    eventually(lambda: drained(one.id) and drained(two.id), "both lines are empty")
    assert_exact(rush, one.id, 99)
    assert_exact(rush, two.id, 48)


def test_a_worker_killed_in_the_middle_of_a_rush_loses_nothing(make_sale, processes):
    sale = make_sale(total_stock=3000)
    processes.start("worker")
    processes.start("chores")
    processes.start("beat")
    processes.wait_ready("worker", "chores")
    rush = Rush([sale.id], 4000).start()
    for accepted in (300, 1200):
        rush.wait_for(accepted)
        processes.kill("worker")
        processes.start("worker")

    rush.wait()

    eventually(lambda: drained(sale.id), "the line is empty")
    assert_exact(rush, sale.id, 3000)


def test_a_worker_that_is_stopped_with_the_sale_in_hand_is_replaced_and_does_no_harm_when_it_wakes(
    make_sale, processes
):
    sale = make_sale(total_stock=3000)
    for name in ("worker-1", "worker-2"):
        processes.start("worker", name)
    processes.start("chores")
    processes.start("beat")
    processes.wait_ready("worker-1", "worker-2", "chores")
    rush = Rush([sale.id], 4000).start()
    rush.wait_for(500)
    processes.signal("worker-1", signal.SIGSTOP)

    rush.wait()

    # PostgreSQL takes the lock from a holder that sleeps on it (5 s); the other worker goes on.
    eventually(lambda: drained(sale.id), "the line is empty without the sleeper")
    processes.signal("worker-1", signal.SIGCONT)
    time.sleep(1)
    assert_exact(rush, sale.id, 3000)


def test_redis_killed_in_the_middle_of_a_rush_keeps_every_accepted_request(make_sale, processes, servers):
    sale = make_sale(total_stock=3000)
    processes.start("worker")
    processes.start("chores")
    processes.start("beat")
    processes.wait_ready("worker", "chores")
    rush = Rush([sale.id], 4000).start()
    rush.wait_for(500)
    servers.valkey.kill()
    time.sleep(0.5)
    servers.valkey.start()

    rush.wait()

    eventually(lambda: drained(sale.id), "the line is empty")
    assert rush.unknown == 0
    assert_exact(rush, sale.id, 3000)


def test_postgres_killed_in_the_middle_of_a_rush_delays_the_outcomes_and_changes_none(make_sale, processes, servers):
    sale = make_sale(total_stock=3000)
    processes.start("worker")
    processes.start("chores")
    processes.start("beat")
    processes.wait_ready("worker", "chores")
    rush = Rush([sale.id], 4000).start()
    rush.wait_for(500)
    servers.postgres.kill()
    rush.wait_for(1500)
    servers.postgres.start()

    rush.wait()

    eventually(lambda: drained(sale.id), "the line is empty")
    assert_exact(rush, sale.id, 3000)


def test_a_line_that_nobody_woke_is_found_by_the_sweeper(make_sale, processes):
    sale = make_sale(total_stock=10)
    processes.start("worker")
    processes.start("chores")
    processes.start("beat")
    processes.wait_ready("worker", "chores")
    mail = {"u": 1, "k": "p", "q": 1, "n": "n", "t": round(time.time() * 1000)}
    redis_client().xadd(rediskeys.mailbox(sale.id), mail, id="0-*")

    eventually(lambda: len(settled(sale.id)) == 1, "the sweeper woke the sale")


def test_a_dedicated_sale_has_its_own_worker_and_is_stood_in_for_when_that_is_away(make_sale, processes):
    sale = make_sale(total_stock=10, dedicated=True)
    for name in ("worker", "chores"):
        processes.start(name)
    processes.wait_ready("worker", "chores")
    rush = Rush([sale.id], 3, dedicated=True).start().wait()
    processes.start("own", "own", "--queues", f"sale.{sale.id}")
    eventually(lambda: drained(sale.id), "its own worker settled it")

    processes.kill("own")
    later = Rush([sale.id], 6, dedicated=True).start().wait()
    processes.start("beat")

    eventually(lambda: drained(sale.id), "the shared worker stood in")
    assert len(rush.accepted | later.accepted) == 6


def test_beat_opens_and_ends_a_sale_on_time_and_the_gate_does_not_wait_for_it(make_sale, processes, sale_row):
    for name in ("worker", "chores"):
        processes.start(name)
    processes.wait_ready("worker", "chores")
    sale = make_sale(total_stock=10, opens_in=timedelta(seconds=1), lasts=timedelta(seconds=8))
    eventually(lambda: Rush([sale.id], 1).start().wait().accepted, "the gate is open")
    eventually(lambda: len(settled(sale.id)) == 1, "settled without beat")
    assert sale_row(sale.id).state == "live"

    processes.start("beat")

    eventually(lambda: sale_row(sale.id).state == "ended", "beat ended the sale")
    assert sale_row(sale.id).end_reason == "time-ended"


def test_a_message_of_the_wrong_shape_does_not_stop_the_worker(make_sale, processes):
    sale = make_sale(total_stock=10)
    processes.start("worker")
    processes.wait_ready("worker")
    redis_client().lpush("settlements", "{}")
    for args in ((), ("seven",), (sale.id, 1, 2), (-1,), (10**30,), ({"a": 1},)):
        _send("doorbuster.settle", args)
    _send("doorbuster.unknown", (1,))

    rush = Rush([sale.id], 20).start().wait()

    eventually(lambda: drained(sale.id), "the worker still works")
    assert_exact(rush, sale.id, 10)


def test_a_paused_sale_answers_those_who_wait_and_sells_again_when_resumed(make_sale, processes):
    sale = make_sale(total_stock=10)
    waiting = Rush([sale.id], 3).start().wait()
    pause_sale(sale.id)
    processes.start("worker")
    processes.start("chores")
    processes.start("beat")

    eventually(lambda: len(settled(sale.id)) == 3, "the waiting were answered")
    assert {row.reason for row in settled(sale.id).values()} == {"PAUSED"}
    # Told as well: a Redis that has forgotten everything believes whoever comes first, and late.
    eventually(lambda: drained(sale.id), "everybody was told")
    resume_sale(sale.id)
    assert len(waiting.accepted) == 3
    redis_client().flushall()
    again = Rush([sale.id], 5).start().wait()
    eventually(lambda: drained(sale.id), "sells again")
    assert len(again.accepted) == 5


def _send(name, args):
    waker()._celery.send_task(name, args=args, queue="settlements", ignore_result=True)
