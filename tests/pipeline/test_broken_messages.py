"""Whatever somebody writes into the broker's lists and channels: it is thrown away, and the worker goes on."""

import base64
import copy
import json
import random
from collections.abc import Iterator

import pytest

from models.redisclient import redis_client
from models.settings import settings
from tests.pipeline.conftest import READY_SECONDS, Rush, assert_exact, drained, eventually
from worker.app import app
from worker.settling import settle

MESSAGES = 1_000
NONSENSE = (None, True, -1, 2**70, 1.5, "", "junk", "\x00", [], [1], {}, {"a": 1}, [[[]]], "x" * 10_000)
RAW = (
    b"",
    b"garbage",
    b"\xff\xfe\x00\x80",
    b"null",
    b"7",
    b'"text"',
    b"[]",
    b"[1, 2]",
    b"{}",
    b'{"properties": {}}',
    b'{"properties": {"delivery_tag": "t", "delivery_info": {}}}',
    b'{"__type__": "uuid", "__value__": {}}',
    b'{"__type__": "datetime", "__value__": "never"}',
    b'{"body": 1e999}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"x" * 8_000_000,
    json.dumps({"body": "y" * 8_000_000}).encode(),
)


def sound_message(sale_id: int) -> dict:
    """A wake-up as it lies in the list."""
    with app.connection_for_write(settings().celery_broker_url) as connection:
        settle.apply_async((sale_id,), queue="test.sample", connection=connection)
    return json.loads(redis_client().rpop("test.sample"))


def paths(value: object, at: tuple = ()) -> Iterator[tuple]:
    """Where something stands in a message, its parts and their parts."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield (*at, name)
        yield from paths(inner, (*at, name))


def broken_messages(sound: dict, count: int) -> Iterator[bytes]:
    """Messages that kombu or Celery would choke on, the same ones every time."""
    yield from RAW
    chance = random.Random(5)
    places = list(paths(sound))
    # Every place with every nonsense, and every place left out; then several at once.
    for place in places:
        for nonsense in (*NONSENSE, ...):
            yield json.dumps(broken_at(sound, [(place, nonsense)])).encode()
    for body in (b"", b"not base64", base64.b64encode(b"junk"), *(encoded(nonsense) for nonsense in NONSENSE)):
        yield json.dumps(sound | {"body": body.decode()}).encode()
    for _ in range(count):
        several = [(chance.choice(places), chance.choice((*NONSENSE, ...))) for _ in range(chance.randint(2, 5))]
        yield json.dumps(broken_at(sound, several)).encode()


def broken_at(sound: dict, faults: list[tuple[tuple, object]]) -> dict:
    message = copy.deepcopy(sound)
    for place, nonsense in faults:
        inner = message
        for name in place[:-1]:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            continue
        if nonsense is ...:
            inner.pop(place[-1], None)
        else:
            inner[place[-1]] = nonsense
    return message


def encoded(value: object) -> bytes:
    return base64.b64encode(json.dumps(value).encode())


def test_a_thousand_broken_messages_do_not_end_the_worker(make_sale, processes):
    sale = make_sale(total_stock=10)
    sound = sound_message(sale.id)
    processes.start("worker")
    processes.wait_ready("worker")
    pushed = 0
    for message in broken_messages(sound, MESSAGES // 2):
        redis_client().lpush("settlements", message)
        pushed += 1
    for message in RAW:
        redis_client().publish("/0.celery.pidbox", message)

    rush = Rush([sale.id], 20).start().wait()

    assert pushed >= MESSAGES
    eventually(lambda: redis_client().llen("settlements") == 0, "the broken messages were taken")
    eventually(lambda: drained(sale.id), "the line is empty")
    assert processes.is_running("worker"), processes.log("worker")[-3000:]
    assert_exact(rush, sale.id, 10)
    assert "broker.message_thrown_away" in processes.log("worker")
    # What was thrown away does not come back, to this worker or to the next: it is nowhere.
    eventually(lambda: not redis_client().exists("settlements", "unacked"), "it is nowhere")
    assert processes.is_running("worker"), processes.log("worker")[-3000:]


@pytest.mark.parametrize("message", [b"garbage", b"[]"])
def test_without_the_strainer_one_such_message_ends_the_worker(processes, message):
    processes.start("unguarded", "worker")
    eventually(lambda: "ready." in processes.log("worker"), "the worker is ready", READY_SECONDS)

    redis_client().lpush("settlements", message)

    eventually(lambda: not processes.is_running("worker"), "the worker ended")
