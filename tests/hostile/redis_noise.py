"""What somebody with a hand in Redis can leave there: broken messages on the queues, entries in a mailbox that are no
requests, and our own keys with values that are none."""

import base64
import time
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import ResponseError

from models import rediskeys, tasks
from models.redisclient import redis_client
from models.settings import settings
from tests.hostile.house import House, json_bytes
from tests.hostile.http_noise import values
from tests.hostile.oracle import Noted, judge
from tests.hostile.wire import ask

QUEUES = (tasks.SETTLEMENTS_QUEUE, tasks.CHORES_QUEUE)
# Whatever else a worker may be asked: the chores are safe at any time, with any arguments.
NAMES = [
    tasks.SETTLE,
    *tasks.EVERY,
    *tasks.EVERY_TICK,
    "celery.backend_cleanup",
    "celery.chord_unlock",
    "no.such.task",
    "",
    None,
    7,
    "os",
]
# What a task's headers may say besides its name and its id.
HEADERS: list[dict[str, Any]] = [
    {},
    {"eta": "2999-01-01T00:00:00"},
    {"eta": "yesterday"},
    {"expires": "x"},
    {"expires": -1},
    {"retries": "many"},
    {"timelimit": [None]},
    {"timelimit": "x"},
    {"lang": None},
    {"group": 1, "root_id": [], "parent_id": {}},
    {"argsrepr": 7, "origin": 7},
]
SETTLE_SECONDS = 240
# An entry's id is `0-<ticket>`: one that follows, and those that no gate gives out.
IDS = ["0-*", "0-*", "0-*", "0-*", "*", "5-1", "7-7"]
NUMBERS = ["1", "0", "-1", "x", "", "1e3", "٣", "9" * 18, str(2**63), "9" * 40, "1_0", " 1", "nan"]
TEXTS = [b"n", b"", b"\x00", b"a\x00b", b"\xff\xfe", "ключ".encode(), b"x" * 200, b"x" * 9_000]


@dataclass(frozen=True, slots=True)
class Message:
    """One message for a queue, as it lies in Redis's list."""

    queue: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a mailbox."""

    entry_id: str
    fields: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A key of ours with something else in it: another type, or a hash's field with another value."""

    key: str
    kind: str
    value: bytes


def messages() -> st.SearchStrategy[Message]:
    """Messages that are JSON, and whatever else they may be."""
    name = st.sampled_from(NAMES)
    args = st.sampled_from([[], ["x"], [None], [2**70], [{}], [[1]], ["1" * 5_000], [1, 2, 3]]) | st.lists(
        values, max_size=3
    )
    body = st.tuples(args, st.dictionaries(st.text(max_size=9), values, max_size=2), values).map(json_bytes)
    body = body | values.map(json_bytes) | st.binary(max_size=40)
    extra = st.sampled_from(HEADERS)

    @st.composite
    def made(draw: st.DrawFn) -> Message:
        shape = draw(st.sampled_from(["task", "task", "task", "envelope", "encoding"]))
        headers: Any = {"lang": "py", "task": draw(name), "id": draw(st.just("an-id") | values)} | draw(extra)
        if shape == "envelope":
            headers = draw(values)
        properties = {
            "correlation_id": draw(st.just("an-id") | values),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "settlements"},
            "priority": draw(st.sampled_from([0, 9, -1])),
            "body_encoding": draw(st.just("base64") | st.sampled_from([None, "utf-8", "x"]))
            if shape == "encoding"
            else "base64",
            "delivery_tag": draw(st.sampled_from(["a-tag", "another"])),
        }
        envelope = {
            "body": base64.b64encode(draw(body)).decode(),
            "content-encoding": draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "binary", "x"])),
            "content-type": draw(
                st.sampled_from([*["application/json"] * 4, "application/x-python-serialize", "text/plain", "x", None])
            ),
            "headers": headers,
            "properties": properties,
        }
        return Message(draw(st.sampled_from(QUEUES)), json_bytes(envelope))

    return made()


def entries(ids: list[str] | None = None) -> st.SearchStrategy[Entry]:
    """Entries that are nearly requests, and some that are nothing of the kind."""
    number = st.sampled_from([each.encode() for each in NUMBERS])
    texts = st.sampled_from(TEXTS) | st.binary(max_size=30)
    nearly = st.fixed_dictionaries(
        {},
        optional={
            b"u": number,
            b"k": st.sampled_from([b"p", b"r", b"x", b""]),
            b"q": number,
            b"n": texts,
            b"t": number | st.just(str(int(time.time() * 1000)).encode()),
            b"i": texts,
            b"o": number,
        },
    )
    sound = {b"u": b"1", b"k": b"p", b"q": b"1", b"n": b"n", b"t": str(int(time.time() * 1000)).encode()}
    one_wrong = st.builds(lambda wrong: sound | wrong, nearly)
    wild = st.dictionaries(texts, texts, min_size=1, max_size=4)
    return st.builds(Entry, st.sampled_from(ids or IDS), one_wrong | one_wrong | nearly.filter(bool) | wild)


def spoilt_keys(sale_id: int) -> st.SearchStrategy[Spoilt]:
    """Keys of one sale, and those of everybody, with something else in them."""
    number = st.sampled_from([each.encode() for each in NUMBERS])
    value = number | st.sampled_from(TEXTS) | st.binary(max_size=20)
    keys = [
        rediskeys.view(sale_id),
        rediskeys.mailbox(sale_id),
        rediskeys.awake(sale_id),
        rediskeys.idempotency(sale_id, 2, "once"),
        rediskeys.moved(sale_id, 1, 2),
        rediskeys.events(sale_id),
        rediskeys.counts(sale_id),
        rediskeys.leaderboard(sale_id),
        rediskeys.WORKERS,
        rediskeys.BEAT_HEARTBEAT,
        rediskeys.generation(2),
        rediskeys.velocity_user(2),
    ]
    fields = [
        *("starts_ms", "ends_ms", "state", "end_reason", "paused", "remaining", "max_per_purchase", "max_per_user"),
        *("settled_through", "pace", "dedicated", "revision"),
    ]
    kinds = ["string", "hash", "list", "set", "zset", "stream"]
    whole = st.builds(Spoilt, st.sampled_from(keys), st.sampled_from(kinds), value)
    field = st.builds(Spoilt, st.just(rediskeys.view(sale_id)), st.sampled_from(fields).map("field {}".format), value)
    others = st.builds(
        Spoilt,
        st.sampled_from([rediskeys.counts(sale_id), rediskeys.WORKERS, rediskeys.leaderboard(sale_id)]),
        st.sampled_from(["SOLD_OUT", "since", "revision", "rows:8", "x"]).map("field {}".format),
        value,
    )
    news = st.builds(Spoilt, st.just(rediskeys.news(sale_id)) | st.just("{sale:x}:news"), st.just("news"), value)
    return st.one_of(whole, field, field, others, news)


def raw_client() -> Redis:
    """A client of one's own that takes and gives bytes."""
    return Redis.from_url(settings().redis_url, socket_timeout=5)


def send_message(house: House, case: Message, noted: Noted) -> None:
    """Put it on its queue; whether the worker lived through it is seen at the end."""
    redis_client().lpush(case.queue, case.raw)
    noted.count("queue message", "sent")


def post_entry(house: House, sale_id: int, case: Entry, noted: Noted) -> None:
    """Put it into the mailbox, as only a hand in Redis can."""
    try:
        raw_client().xadd(rediskeys.mailbox(sale_id), case.fields, id=case.entry_id)
        noted.count("mailbox entry", "lies there")
    except ResponseError:
        noted.count("mailbox entry", "refused by Redis")


def spoil_key(house: House, sale_id: int, case: Spoilt, noted: Noted) -> None:
    """Put it there, and ask for everything that reads it."""
    _spoil(case)
    noted.count("spoilt key", case.kind.partition(" ")[0])
    for port, method, path, headers, body in questions(house, sale_id):
        try:
            answer = ask(port, method, path, headers, body)
        except OSError as why:
            noted.complain("spoilt key", (case, path), [repr(why)])
            continue
        noted.complain("spoilt key", (case, path), judge(method, path, answer))


def _spoil(case: Spoilt) -> None:
    client = raw_client()
    kind, _, name = case.kind.partition(" ")
    if kind == "news":
        client.publish(case.key, case.value)
        return
    if kind == "field":
        if client.type(case.key) in (b"hash", b"none"):
            client.hset(case.key, name, case.value)
        return
    client.delete(case.key)
    if kind == "string":
        client.set(case.key, case.value)
    elif kind == "hash":
        client.hset(case.key, b"x", case.value)
    elif kind == "list":
        client.rpush(case.key, case.value)
    elif kind == "set":
        client.sadd(case.key, case.value)
    elif kind == "zset":
        client.zadd(case.key, {case.value: 1})
    else:
        client.xadd(case.key, {b"s": case.value})


def questions(house: House, sale_id: int) -> list[tuple[int, str, str, dict[str, str], bytes]]:
    """What reads the keys of a sale: port, method, path, headers, body."""
    buyer = {"Authorization": f"Bearer {house.tokens[1]}", "Content-Type": "application/json"}
    # Of another address, so that the guard counts it too.
    counted = buyer | {"X-Forwarded-For": "203.0.113.7"}
    admin = {"Authorization": f"Bearer {house.admin_token}"}
    sale = f"/api/flash-sales/{sale_id}"
    web, live = house.ports
    return [
        (web, "POST", f"{sale}/purchases", buyer | {"Idempotency-Key": "once"}, b'{"quantity": 1}'),
        (web, "POST", f"{sale}/purchases", counted | {"Prefer": "wait=1"}, b'{"quantity": 1}'),
        (live, "POST", f"{sale}/reservations", buyer, b'{"quantity": 1}'),
        (web, "GET", f"{sale}/purchases/1", buyer, b""),
        (web, "GET", f"{sale}/leaderboard", buyer, b""),
        (web, "GET", f"{sale}/desk", admin, b""),
        (web, "GET", "/readyz", {}, b""),
    ]


def settles(sale_id: int, seconds: float = SETTLE_SECONDS) -> bool:
    """Whether a sale's line is worked off in so many seconds, whatever lay in it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if redis_client().type(rediskeys.mailbox(sale_id)) != "stream" or not redis_client().xlen(
            rediskeys.mailbox(sale_id)
        ):
            return True
        time.sleep(0.2)
    return False


def tidy(sale_id: int) -> None:
    """Take away what lies where a sale's line should be: an operator's work, since nobody else may throw it away."""
    if redis_client().type(rediskeys.mailbox(sale_id)) != "stream":
        redis_client().delete(rediskeys.mailbox(sale_id))
