"""Whatever is sent, the two ways say the same."""

import re

import orjson
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn
from tests.doorstep.sides import bearer, numbers, units
from tests.doorstep.test_looks import look

IDS = re.compile(r"\d+-\d+|\"(ticket|position|userId)\":\"?\d+")
PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b'"quantity"',
        b'"groupKey"',
        b"1",
        b"2",
        b"0",
        b"-",
        b".5",
        b"e1",
        b'"',
        b" ",
        b"true",
        b"null",
        b"\\u0000",
        b"\xff",
        b"\xc3\xa9",
    ]
)
BODIES = st.one_of(
    st.lists(PIECES, max_size=8).map(b"".join),
    st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(["quantity", "groupKey", "x"]), st.one_of(st.integers(-2, 3), st.text(max_size=4), st.none())
    ).map(orjson.dumps),
    st.one_of(st.integers(-2, 5), st.just(1_000_001)).map(lambda quantity: b'{"quantity":%d}' % quantity),
)
ADDRESSES = st.sampled_from(["127.0.0.1", "10.0.0.1", "::1", "x", "203.0.113.9"])
WAITS = st.sampled_from(["", "wait", "wait=0", "wait=0.01", "wait=x", "a,wait=0.01;b", "é"])
TOKENS = st.text(st.characters(max_codepoint=255), max_size=30).map(lambda text: f"Bearer {text}")
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "CONTENT_TYPE": st.sampled_from(
            ["application/json", "application/JSON", "application/json;charset=utf-8", "x"]
        ),
        "CONTENT_LENGTH": st.sampled_from(["0", "7", "14", "1_4", "+14", " 14", "14.0"]),
        "HTTP_IDEMPOTENCY_KEY": st.text(st.characters(max_codepoint=255), max_size=8),
        "HTTP_X_FORWARDED_FOR": st.text(st.sampled_from("0123456789.,: a"), max_size=20),
        "REMOTE_ADDR": ADDRESSES,
        "HTTP_PREFER": WAITS,
        "QUERY_STRING": st.sampled_from(["", "a", "wait=x", "%00"]),
        "HTTP_AUTHORIZATION": TOKENS,
    },
)


LOOKED_AT = st.one_of(
    st.sampled_from(
        ["/api/purchases/{}-1", "/api/flash-sales/{}/purchases/2", "/api/purchases/{}-3", "/api/purchases/{}-4"]
    ),
    st.lists(st.sampled_from(["/purchases/", "{}", "-", "0", "1", "9" * 18, "/", "+", "é"]), max_size=4).map(
        lambda pieces: "/api/purchases/" + "".join(pieces)
    ),
)
ASKED_WITH = st.fixed_dictionaries(
    {},
    optional={
        "REQUEST_METHOD": st.sampled_from(["HEAD", "POST", "DELETE"]),
        "QUERY_STRING": st.one_of(
            st.sampled_from(["wait=0", "wait=0.01", "wait=00.01"]),
            st.lists(st.sampled_from(["wait", "=", "0", ".", "&", "x", "%00", "+", "%30"]), max_size=4).map("".join),
        ),
        "HTTP_PREFER": WAITS,
        "HTTP_X_FORWARDED_FOR": st.text(st.sampled_from("0123456789.,: a"), max_size=20),
        "REMOTE_ADDR": ADDRESSES,
        "HTTP_AUTHORIZATION": TOKENS,
    },
)


def test_whatever_is_looked_at_the_two_ways_show_the_same(ways, make_sale):
    sale, me = make_sale(total_stock=2), next(numbers)
    for quantity in (1, 2):
        admit(sale.id, me, Kind.PURCHASE, quantity)
    settle_turn(sale.id)
    for user_id in (me, me + 1_000_000):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    seen = set()

    @hypothesis_settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(LOOKED_AT, st.one_of(st.just({}), ASKED_WITH))
    def both_show_the_same(path, headers):
        path = path.replace("{}", str(sale.id)).encode().decode("latin-1")
        environ = look(path, HTTP_AUTHORIZATION=bearer(me)) | headers
        short, by_doorstep = ways.through(**environ)
        assert short.alike() == ways.around(**environ).alike()
        seen.add((by_doorstep, short.status[:3]))

    both_show_the_same()

    assert {(True, "200"), (False, "404"), (False, "401"), (False, "400")} <= seen


def test_whatever_is_sent_the_two_ways_say_the_same(ways, make_sale):
    sale = make_sale(total_stock=1_000_000, max_per_purchase=2)
    seen = set()

    @hypothesis_settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(BODIES, st.one_of(st.just({}), HEADERS))
    def both_say_the_same(body, headers):
        # Two buyers, since no sale begins anew for every case: their tickets differ, and nothing else may.
        short, by_doorstep = ways.through(**units(sale, body=body) | headers)
        long = ways.around(**units(sale, body=body) | headers)
        assert [IDS.sub("", str(part)) for part in short.alike()] == [IDS.sub("", str(part)) for part in long.alike()]
        seen.add(by_doorstep)

    both_say_the_same()

    assert seen == {True, False}
