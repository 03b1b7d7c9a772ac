"""The numbers of the live desk against rushes through the real gate, and what they cost."""

from datetime import timedelta

import pytest
from sqlalchemy import event, text

from models import rediskeys
from models.database import engine, transaction
from models.desk import TICKETS_MAX, read_desk
from models.gate import admit
from models.heartbeats import FORGOTTEN_MS, beat, forget_silent_workers
from models.purchase import Kind
from models.redisclient import redis_client
from models.refusals import count_in_redis, keep_refusals, refusals_of
from models.sale_rules import SaleNotFoundError
from models.sales import end_sale, pause_sale
from models.settle import settle_turn
from tests.pipeline.conftest import Rush


@pytest.fixture
def rush(store):
    """rush(sale, buyers) -> a Rush that is over; nothing is settled yet."""
    return lambda sale, buyers, **options: Rush([sale.id], buyers, **options).start().wait()


def settle_all(sale_id):
    while settle_turn(sale_id).more:
        pass


def test_before_anybody_comes_everything_is_nothing(make_sale):
    desk = read_desk(make_sale(total_stock=5).id)

    assert (desk.line.accepted, desk.line.waiting, desk.line.oldest_wait_ms) == (0, 0, 0)
    assert (desk.refused, desk.times.requests, desk.times.p50_ms) == ({}, 0, None)
    assert desk.sale.remaining == 5


def test_a_sale_that_is_not_there_has_no_desk(store):
    with pytest.raises(SaleNotFoundError):
        read_desk(99)


def test_while_a_line_waits_its_length_and_its_oldest_wait_are_told(make_sale, rush):
    sale = make_sale(total_stock=50)

    crowd = rush(sale, 120)
    desk = read_desk(sale.id)

    assert len(crowd.accepted) == 120
    assert (desk.line.accepted, desk.line.waiting, desk.sale.settled_through) == (120, 120, 0)
    assert 0 < desk.line.oldest_wait_ms < 60_000


def test_after_a_rush_the_desk_counts_what_the_crowd_was_told(make_sale, rush):
    sale = make_sale(total_stock=50)
    first = rush(sale, 120)
    settle_all(sale.id)

    second = rush(sale, 300, quantity=1)
    desk = read_desk(sale.id)

    # The same buyers with the same keys: the first 120 hear their old answer, neither accepted nor refused anew.
    assert len(first.accepted) == 120
    assert desk.line.accepted == desk.sale.settled_through == 120
    assert (desk.sale.sold, desk.sale.remaining, desk.line.waiting) == (50, 0, 0)
    assert desk.refused == {"SOLD_OUT": len(second.refused)} == {"SOLD_OUT": 180}
    assert desk.times.requests == 120
    assert 0 < desk.times.p50_ms <= desk.times.p99_ms


def test_every_refusal_is_counted_by_its_code(make_sale):
    early = make_sale(opens_in=timedelta(hours=1))
    small = make_sale(total_stock=5, max_per_purchase=9)
    paused = make_sale()
    ended = make_sale()
    pause_sale(paused.id)
    end_sale(ended.id)

    for sale, quantity, times in ((early, 1, 3), (small, 10, 2), (small, 7, 4), (paused, 1, 1), (ended, 1, 2)):
        for user_id in range(times):
            with pytest.raises(Exception, match=r"^[A-Z_]+: "):
                admit(sale.id, user_id + 1, Kind.PURCHASE, quantity)

    counted = [count_in_redis(sale.id) for sale in (early, small, paused, ended)]
    assert counted == [{"NOT_STARTED": 3}, {"LIMIT_EXCEEDED": 2, "INSUFFICIENT_STOCK": 4}, {"PAUSED": 1}, {"ENDED": 2}]
    assert all(0 < redis_client().ttl(rediskeys.counts(sale.id)) <= 172_800 for sale in (early, ended))


def test_a_retry_is_no_refusal_and_is_not_counted(make_sale):
    sale = make_sale(total_stock=1)
    admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="once")
    settle_all(sale.id)

    assert admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="once").replayed

    assert read_desk(sale.id).refused == {}
    assert read_desk(sale.id).line.accepted == 1


def test_refusals_are_kept_once_however_often_and_late_and_survive_a_redis_that_forgot(make_sale):
    sale = make_sale(total_stock=1)
    admit(sale.id, 1, Kind.PURCHASE, 1)
    settle_all(sale.id)

    def refuse(times):
        for _ in range(times):
            with pytest.raises(Exception, match="SOLD_OUT"):
                admit(sale.id, 2, Kind.PURCHASE, 1)

    refuse(3)
    keep_refusals(sale.id)
    keep_refusals(sale.id)
    assert refusals_of(sale.id) == {"SOLD_OUT": 3}
    redis_client().flushall()
    refuse(2)
    keep_refusals(sale.id)
    refuse(1)
    keep_refusals(sale.id)

    assert refusals_of(sale.id) == {"SOLD_OUT": 6}


def test_refusals_do_not_wait_for_the_disk(make_sale):
    """The control is an admission, which does."""
    sale = make_sale(total_stock=1)

    def written(ask):
        before = redis_client().info("persistence")["aof_current_size"]
        ask()
        return redis_client().info("persistence")["aof_current_size"] - before

    assert written(lambda: admit(sale.id, 1, Kind.PURCHASE, 1)) > 0
    settle_all(sale.id)

    def refused():
        with pytest.raises(Exception, match="SOLD_OUT"):
            admit(sale.id, 2, Kind.PURCHASE, 1)

    refused()
    assert written(refused) == 0
    assert count_in_redis(sale.id) == {"SOLD_OUT": 2}


def test_accepted_never_goes_back_while_a_line_is_settled(make_sale, rush):
    sale = make_sale(total_stock=50)
    rush(sale, 40)
    seen = [read_desk(sale.id).line.accepted]
    settle_all(sale.id)
    seen.append(read_desk(sale.id).line.accepted)
    redis_client().flushall()
    seen.append(read_desk(sale.id).line.accepted)

    assert seen == [40, 40, 40]


def test_workers_are_named_with_their_queues_and_forgotten_when_they_are_gone_for_good(make_sale):
    sale = make_sale()
    beat("worker1@shop", ["settlements"])
    beat("own@shop", ["sale.7", "settlements"])
    redis_client().hset(rediskeys.WORKERS, "old@shop", f"{read_desk(sale.id).at_ms - FORGOTTEN_MS - 1}:settlements")

    workers = read_desk(sale.id).workers

    assert [(worker.name, worker.queues) for worker in workers] == [
        ("own@shop", ("sale.7", "settlements")),
        ("worker1@shop", ("settlements",)),
    ]
    assert all(abs(read_desk(sale.id).at_ms - worker.seen_ms) < 10_000 for worker in workers)
    assert forget_silent_workers() == 1
    assert redis_client().hkeys(rediskeys.WORKERS) == ["worker1@shop", "own@shop"]


def fill(sale_id, tickets):
    """A long sold-out history, settled long ago but for the last hundred."""
    with transaction() as session:
        session.execute(
            text("""
                INSERT INTO purchases (sale_id, ticket, user_id, kind, quantity, status, reason, currency, nonce,
                                       admitted_at, settled_at, revision)
                SELECT :sale_id, n, n, 'purchase', 1, 'rejected', 'SOLD_OUT', 'USD', 'n' || n,
                       now() - CASE WHEN n > :tickets - 100 THEN interval '1 second' ELSE interval '1 hour' END,
                       now() - CASE WHEN n > :tickets - 100 THEN interval '0.9 second' ELSE interval '1 hour' END, 1
                FROM generate_series(1, :tickets) AS n
            """),
            {"sale_id": sale_id, "tickets": tickets},
        )
        session.execute(
            text("UPDATE flash_sales SET settled_through = :n WHERE id = :id"), {"n": tickets, "id": sale_id}
        )
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE purchases"))


def rows_read(sale_id):
    """How many rows of purchases the desk's own statement looked at, in PostgreSQL's own count."""
    plans = []

    def explain(_connection, _cursor, statement, parameters, *_):
        if "percentile_disc" in statement and not statement.startswith("EXPLAIN"):
            plans.append((statement, parameters))

    event.listen(engine(), "before_cursor_execute", explain)
    try:
        read_desk(sale_id)
    finally:
        event.remove(engine(), "before_cursor_execute", explain)
    statement, parameters = plans[0]
    with engine().connect() as connection:
        plan = connection.exec_driver_sql("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, parameters).scalar_one()
    return max(_rows(plan[0]["Plan"]))


def _rows(node):
    yield node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
    for child in node.get("Plans", ()):
        yield from _rows(child)


def test_the_desk_costs_the_same_however_much_the_sale_has_sold(make_sale):
    short, long = make_sale(), make_sale()
    fill(short.id, 3_000)
    fill(long.id, 60_000)

    assert rows_read(short.id) <= TICKETS_MAX
    assert rows_read(long.id) <= TICKETS_MAX
    assert read_desk(long.id).times.requests == 100
    assert read_desk(long.id).times.p50_ms == 100
