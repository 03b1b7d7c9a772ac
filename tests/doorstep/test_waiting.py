"""Whoever prefers to wait is told the outcome at the doorstep as Flask would."""

import threading
from contextlib import contextmanager
from types import SimpleNamespace

from models.database import engine
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settle import settle_turn
from tests.doorstep.sides import bearer, numbers, units
from web import waiting
from web.fresh import answers


@contextmanager
def settling(sale_id):
    """Somebody settles the sale for as long as the block runs."""
    over = threading.Event()

    def settle():
        while not over.is_set():
            settle_turn(sale_id)
            over.wait(0.02)

    worker = threading.Thread(target=settle)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def test_whoever_waits_is_told_the_outcome_either_way(ways, make_sale, monkeypatch):
    # What is kept grows no older meanwhile, however long an outcome takes.
    monkeypatch.setattr("web.fresh.time", SimpleNamespace(monotonic=lambda: 1_000.0))
    me = next(numbers)
    for sale, ahead, status in (
        (make_sale(total_stock=2), None, "201"),
        (make_sale(total_stock=1), me + 1_000_000, "409"),
        (make_sale(max_per_user=1), me, "422"),
    ):
        if ahead:
            admit(sale.id, ahead, Kind.PURCHASE, 1)
        answers().keep("/live", b"{}", 1_000.0, answers().changes)
        environ = units(sale, HTTP_AUTHORIZATION=bearer(me), HTTP_IDEMPOTENCY_KEY="key", HTTP_PREFER="wait=30")

        with settling(sale.id):
            short, by_doorstep = ways.through(**environ)
            is_kept = answers().find("/live") is not None
            long = ways.around(**environ)

        assert (short.status[:3], by_doorstep) == (status, True)
        assert (headers_of_limits(short), short.headers["Preference-Applied"]) == (
            {"RateLimit", "RateLimit-Policy"},
            "wait=30",
        )
        assert without_limits(short) == without_limits(long)
        # Whoever bought is not shown what was before.
        assert is_kept is (status != "201")


def test_whoever_is_in_line_has_their_ticket_though_nobody_can_say_what_became_of_it(
    ways, make_sale, store, monkeypatch
):
    """PostgreSQL is away: a request that was accepted is answered with its place, as it is where nobody waits."""
    monkeypatch.setattr(waiting, "FIRST_LOOK_SECONDS", 0.1)
    sale = make_sale()
    wishes = {"HTTP_IDEMPOTENCY_KEY": "key", "HTTP_PREFER": "wait=1"}
    store.postgres.kill()
    try:
        first, by_doorstep = ways.through(**units(sale, HTTP_AUTHORIZATION=bearer(1), **wishes))
        again, _ = ways.through(**units(sale, HTTP_AUTHORIZATION=bearer(1), **wishes))
        around = ways.around(**units(sale, HTTP_AUTHORIZATION=bearer(1), **wishes))
    finally:
        store.postgres.start()
        engine().dispose()

    assert ((first.status[:3], by_doorstep), again.status[:3], around.status[:3]) == (("202", True), "202", "202")
    assert all(b'"ticket":1' in answer.body for answer in (first, again, around))


def test_another_request_under_a_key_that_redis_forgot_is_refused_either_way(ways, make_sale):
    sale, me = make_sale(), bearer(next(numbers))
    asked = units(sale, HTTP_AUTHORIZATION=me, HTTP_IDEMPOTENCY_KEY="key", HTTP_PREFER="wait=30")
    with settling(sale.id):
        first, _ = ways.through(**asked)
        redis_client().flushall()
        other, by_doorstep = ways.through(**asked | {"body": b'{"quantity":3}'})
        around = ways.around(**asked | {"body": b'{"quantity":3}'})

    assert (first.status[:3], other.status[:3], around.status[:3]) == ("201", "422", "422")
    assert not by_doorstep, "a refusal that comes seldom is for Flask to say"
    assert all(b'"code":"IDEMPOTENCY_KEY_REUSED"' in answer.body for answer in (other, around))


def headers_of_limits(answer):
    return {name for name in answer.headers if name.startswith("RateLimit")}


def without_limits(answer):
    """What is left of a limit differs between the first request and the second."""
    status, headers, body = answer.alike()
    return status, {name: value for name, value in headers.items() if name != "RateLimit"}, body
