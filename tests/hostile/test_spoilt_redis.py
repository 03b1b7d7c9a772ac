"""Somebody with a hand in Redis: what they leave there is rejected, passed over or made anew, and nobody is sold a
unit too many."""

import json
import threading

import pytest
from redis.exceptions import ResponseError

from models import heartbeats, rediskeys
from models.announce import announce
from models.audit import audit_sale
from models.database import transaction
from models.errors import UnavailableError
from models.gate import admit
from models.heartbeats import forget_silent_workers
from models.mailbox import mark_awake, oldest_waits, parse_entry
from models.purchase import Kind, Purchase
from models.redisclient import redis_client
from models.refusals import count_in_redis, keep_refusals
from models.schedule import sweep_lines
from models.settle import settle_turn
from models.snapshot import SaleSnapshot
from tests.hostile.redis_noise import raw_client
from web.news import NewsReader

SOUND = {"u": "7", "k": "p", "q": "1", "n": "nonce", "t": "1800000000000"}
# One thing wrong with each of them; PostgreSQL could hold none of those in the second half.
ODD_ENTRIES = {
    "nothing of ours": {"x": "y"},
    "no buyer": {name: value for name, value in SOUND.items() if name != "u"},
    "a buyer that is a word": SOUND | {"u": "me"},
    "a buyer below zero": SOUND | {"u": "-1"},
    "another kind": SOUND | {"k": "z"},
    "no units": SOUND | {"q": "0"},
    "units below zero": SOUND | {"q": "-5"},
    "half a unit": SOUND | {"q": "0.5"},
    "a first ticket that is a word": SOUND | {"o": "x"},
    "more units than money can count": SOUND | {"q": str(2**62)},
    "a buyer beyond numbers": SOUND | {"u": str(2**63)},
    "a time beyond the calendar": SOUND | {"t": "9" * 30},
    "a time before all time": SOUND | {"t": str(-(10**20))},
    "a first ticket beyond numbers": SOUND | {"o": "9" * 40},
    "a NUL in the nonce": SOUND | {"n": "a\x00b"},
    "a NUL in the key": SOUND | {"i": "a\x00b"},
    "a key too long for an index": SOUND | {"i": "".join(chr(0x4E00 + n) for n in range(9_000))},
}


def buy(sale_id, user_id=1):
    """A purchase of one unit, settled: its status."""
    ticket = admit(sale_id, user_id, Kind.PURCHASE, 1).ticket
    settle_turn(sale_id)
    return outcome(sale_id, ticket)


def outcome(sale_id, ticket):
    with transaction() as session:
        row = session.get(Purchase, (sale_id, ticket))
        return row and (row.reason or row.status)


@pytest.mark.parametrize("what", ODD_ENTRIES)
def test_what_is_no_request_is_rejected_and_the_one_behind_it_is_served(make_sale, what):
    sale = make_sale(total_stock=1)
    redis_client().xadd(rediskeys.mailbox(sale.id), ODD_ENTRIES[what], id="0-*")

    assert buy(sale.id) == "confirmed"

    assert outcome(sale.id, 1) == "MALFORMED"
    assert audit_sale(sale.id).agrees


def test_without_anything_wrong_such_an_entry_is_a_request(make_sale):
    """The control of the test above: what its entries have in common is sound."""
    sale = make_sale(total_stock=2)
    redis_client().xadd(rediskeys.mailbox(sale.id), SOUND, id="0-*")

    settle_turn(sale.id)

    assert outcome(sale.id, 1) == "confirmed"
    assert not parse_entry("0-1", SOUND).malformed


def test_bytes_that_are_no_text_are_rejected_too(make_sale):
    sale = make_sale(total_stock=1)
    raw_client().xadd(rediskeys.mailbox(sale.id), {b"u": b"\xff\xfe", b"\xff": b"\x80"}, id="0-*")

    assert buy(sale.id) == "confirmed"
    assert outcome(sale.id, 1) == "MALFORMED"


def test_no_units_under_a_key_that_was_used_are_malformed_and_no_duplicate(make_sale):
    sale = make_sale(total_stock=3)
    admit(sale.id, 7, Kind.PURCHASE, 1, idempotency_key="once")
    redis_client().xadd(rediskeys.mailbox(sale.id), SOUND | {"q": "0", "i": "once"}, id="0-*")

    settle_turn(sale.id)

    assert [outcome(sale.id, ticket) for ticket in (1, 2)] == ["confirmed", "MALFORMED"]


@pytest.mark.parametrize("entry_id", ["*", "5-1", "0-9223372036854775807", "0-18446744073709551615"])
def test_an_entry_under_an_id_that_no_gate_gives_out_is_thrown_away_and_the_line_goes_on(make_sale, entry_id):
    sale = make_sale(total_stock=3)
    assert buy(sale.id) == "confirmed"
    waits = admit(sale.id, 2, Kind.PURCHASE, 1).ticket
    redis_client().xadd(rediskeys.mailbox(sale.id), SOUND, id=entry_id)

    settle_turn(sale.id)
    assert outcome(sale.id, waits) == "confirmed"
    assert buy(sale.id) == "confirmed"

    assert redis_client().xlen(rediskeys.mailbox(sale.id)) == 0
    assert audit_sale(sale.id).agrees
    assert audit_sale(sale.id).tickets_by_status == {"confirmed": 3}


def test_a_line_that_only_remembers_such_an_id_goes_on_too(make_sale):
    sale = make_sale()
    redis_client().xdel(rediskeys.mailbox(sale.id), redis_client().xadd(rediskeys.mailbox(sale.id), SOUND))

    assert buy(sale.id) == "confirmed"
    assert audit_sale(sale.id).agrees


@pytest.mark.parametrize(
    "field", ["starts_ms", "ends_ms", "remaining", "settled_through", "dedicated", "max_per_user", "pace", "revision"]
)
def test_a_view_with_something_else_in_it_still_sells(make_sale, field):
    sale = make_sale()
    for value in ("", "x", "nan", "inf", "-", "1e3", "9" * 20, "\x00", "٣"):
        redis_client().hset(rediskeys.view(sale.id), field, value)

        assert buy(sale.id) == "confirmed", value

    assert audit_sale(sale.id).agrees


def test_a_view_that_promises_too_much_sells_no_unit_too_many(make_sale, sale_row):
    sale = make_sale(total_stock=2)
    promises = {"remaining": 10**6, "end_reason": "", "state": "live"}
    for buyer in (1, 2, 3, 4):
        redis_client().hset(rediskeys.view(sale.id), mapping=promises)
        assert buy(sale.id, buyer) == ("confirmed" if buyer < 3 else "SOLD_OUT")

    assert sale_row(sale.id).sold == 2
    assert audit_sale(sale.id).agrees


@pytest.mark.parametrize("name", ["view", "events", "counts", "leaderboard", "awake"])
def test_another_type_in_the_place_of_a_key_stops_no_sale(make_sale, name):
    sale = make_sale()
    redis_client().delete(getattr(rediskeys, name)(sale.id))
    redis_client().rpush(getattr(rediskeys, name)(sale.id), "x")

    assert buy(sale.id) == "confirmed"


@pytest.mark.parametrize("lifetime_ms", [None, 3_600_000])
def test_a_flag_that_somebody_else_raised_for_ever_does_not_keep_a_sale_asleep(make_sale, lifetime_ms):
    sale = make_sale()
    redis_client().set(rediskeys.awake(sale.id), "x", px=lifetime_ms)

    assert not admit(sale.id, 1, Kind.PURCHASE, 1).wake
    assert mark_awake(sale.id)
    # The control: a flag of our own says that somebody is coming.
    assert not mark_awake(sale.id)


def test_another_type_in_the_place_of_a_mailbox_stops_its_sale_until_it_is_taken_away_and_no_other(make_sale):
    spoilt, sound = make_sale(), make_sale()
    redis_client().set(rediskeys.mailbox(spoilt.id), "x")
    admit(sound.id, 1, Kind.PURCHASE, 1)

    with pytest.raises((ResponseError, UnavailableError)):
        admit(spoilt.id, 1, Kind.PURCHASE, 1)
    assert list(oldest_waits([spoilt.id, sound.id])) == [sound.id]
    sweep_lines()

    redis_client().delete(rediskeys.mailbox(spoilt.id))
    assert buy(spoilt.id) == "confirmed"


@pytest.mark.parametrize("revision", [10**9, 10**17, 10**40, "inf", "nan"])
def test_a_view_of_a_revision_that_never_was_is_made_anew_by_the_sweeper(make_sale, revision):
    sale = make_sale()
    redis_client().hset(rediskeys.view(sale.id), mapping={"revision": revision, "remaining": 0})

    sweep_lines()

    assert redis_client().hget(rediskeys.view(sale.id), "revision") == str(sale.revision)
    assert buy(sale.id) == "confirmed"


def test_a_view_that_is_only_newer_than_what_the_sweeper_read_is_left_alone(make_sale, sale_row):
    """The control of the test above: news that overtake the sweeper are no damage."""
    sale = make_sale()
    buy(sale.id)

    announce(SaleSnapshot.of(sale))
    sweep_lines()

    assert redis_client().hget(rediskeys.view(sale.id), "revision") == str(sale_row(sale.id).revision)


def test_counts_and_workers_that_are_none_are_passed_over(make_sale):
    sale = make_sale()
    redis_client().hset(rediskeys.counts(sale.id), mapping={"SOLD_OUT": "3", "PAUSED": "x", "\x00": "1", "since": "x"})
    redis_client().hset(rediskeys.WORKERS, mapping={"settle@x": "yesterday", "other@x": ""})

    assert count_in_redis(sale.id) == {"SOLD_OUT": 3}
    keep_refusals(sale.id)
    assert forget_silent_workers() == 2


def test_news_that_are_none_do_not_end_the_reader(make_sale):
    sale = make_sale()
    heard = threading.Event()

    class Ear:
        def wants(self, _sale_id):
            return True

        def hear(self, _sale, _outcomes):
            heard.set()

        def missed(self):
            pass

    reader = NewsReader()
    reader.add(Ear())
    assert reader.wait_until_connected(10)
    odd = [b"", b"x", b"\xff\xfe", b"[]", b"{}", b'{"sale": 1, "outcomes": 2}', b'{"sale": {}, "outcomes": [[]]}']
    for said in odd:
        raw_client().publish(rediskeys.news(sale.id), said)
    raw_client().publish("{sale:x}:news", json.dumps({"sale": {}}))

    buy(sale.id)

    assert heard.wait(60)


@pytest.mark.parametrize("left", ["string", "list", "stream"])
def test_what_somebody_left_in_the_place_of_the_workers_silences_none_of_them(store, left):
    client = redis_client()
    {
        "string": lambda: client.set(rediskeys.WORKERS, "x"),
        "list": lambda: client.lpush(rediskeys.WORKERS, "x"),
        "stream": lambda: client.xadd(rediskeys.WORKERS, {"a": "b"}),
    }[left]()

    heartbeats.beat("settle@x", ["settlements"])

    seen, _ = heartbeats.read_workers()
    assert [(worker.name, worker.queues) for worker in seen] == [("settle@x", ("settlements",))]
