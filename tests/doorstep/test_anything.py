"""Whatever is sent, the two ways say the same."""

import re

import orjson
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.doorstep.sides import units

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
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "CONTENT_TYPE": st.sampled_from(
            ["application/json", "application/JSON", "application/json;charset=utf-8", "x"]
        ),
        "CONTENT_LENGTH": st.sampled_from(["0", "7", "14", "1_4", "+14", " 14", "14.0"]),
        "HTTP_IDEMPOTENCY_KEY": st.text(st.characters(max_codepoint=255), max_size=8),
        "HTTP_X_FORWARDED_FOR": st.text(st.sampled_from("0123456789.,: a"), max_size=20),
        "REMOTE_ADDR": st.sampled_from(["127.0.0.1", "10.0.0.1", "::1", "x", "203.0.113.9"]),
        "HTTP_PREFER": st.sampled_from(["", "wait", "wait=0", "wait=0.01", "wait=x", "a,wait=0.01;b", "é"]),
        "QUERY_STRING": st.sampled_from(["", "a", "wait=x", "%00"]),
        "HTTP_AUTHORIZATION": st.text(st.characters(max_codepoint=255), max_size=30).map(lambda text: f"Bearer {text}"),
    },
)


def test_whatever_is_sent_the_two_ways_say_the_same(ways, make_sale):
    sale = make_sale(total_stock=1_000_000, max_per_purchase=2)
    seen = set()

    @hypothesis_settings(
        max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(BODIES, st.one_of(st.just({}), HEADERS))
    def both_say_the_same(body, headers):
        # Two buyers, since no sale begins anew for every case: their tickets differ, and nothing else may.
        short, by_doorstep = ways.through(**units(sale, body=body) | headers)
        long = ways.around(**units(sale, body=body) | headers)
        assert [IDS.sub("", str(part)) for part in short.alike()] == [IDS.sub("", str(part)) for part in long.alike()]
        seen.add(by_doorstep)

    both_say_the_same()

    assert seen == {True, False}
