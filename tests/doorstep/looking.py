"""A look at a purchase, both ways, and what it asked."""

import json
import threading
import time
from contextlib import contextmanager

from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn
from tests.doorstep.sides import bearer
from tests.doorstep.test_looks import look
from web.waiting import waiters

PATIENCE_SECONDS = 60
FORMS = ["/api/purchases/{sale}-{ticket}", "/api/flash-sales/{sale}/purchases/{ticket}"]


def look_of(user_id, sale, ticket, form=FORMS[0], **environ):
    path = form.format(sale=getattr(sale, "id", sale), ticket=ticket)
    return look(path, HTTP_AUTHORIZATION=bearer(user_id)) | environ


def assert_told_alike(ways, *, by_doorstep=True, **environ):
    """Nobody is changed by being looked at, so both ways are asked one after the other."""
    short, was_short = ways.through(**environ)
    long = ways.around(**environ)
    assert short.alike() == long.alike()
    assert was_short is by_doorstep, short
    return short


def told(answer):
    body = json.loads(answer.body)
    return (int(answer.status[:3]), (body.get("data") or {}).get("status") or body.get("code"))


def buy(sale, user_id, kind=Kind.PURCHASE, quantity=1, **named):
    return admit(sale.id, user_id, kind, quantity, **named).ticket


def eventually(is_so):
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := is_so()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


@contextmanager
def settled_when_somebody_waits(sale):
    def settle():
        eventually(lambda: waiters()._waits.get(sale.id))
        settle_turn(sale.id)

    worker = threading.Thread(target=settle)
    worker.start()
    yield
    worker.join()
