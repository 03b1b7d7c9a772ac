"""Entries that are read a field at a time are the very requests that they are one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import mailbox
from models.mailbox import parse_entry, requests_of

SOUND = {"u": "7", "k": "p", "q": "1", "n": "nonce", "t": "1800000000000"}
# Of each field: what the gate writes, and what somebody else might.
VALUES = {
    "u": ["7", "0", "-1", str(2**63), "me", " 8", "1_0", "٣"],
    "k": ["p", "r", "z", ""],
    "q": ["1", "3", "0", "0.5", "1000000", "1000001"],
    "n": ["nonce", "", "a\x00b", "n" * 200, "n" * 201],
    "t": ["1800000000000", "1", "0", "9" * 13, "9" * 30],
    "i": ["key", "", 'a "key\\', "k" * 201],
    "o": ["4", "0", "x"],
    "x": ["00-trace", ""],
    "y": ["of nobody"],
}
IDS = st.sampled_from(["0-1", "0-77", "0-999999999999999", "0-1000000000000000", "5-1", "1800000000000-0"])
FIELDS = st.builds(
    lambda altered, without: {
        name: value for name, value in (SOUND | altered).items() if name not in without or name in altered
    },
    st.dictionaries(st.sampled_from(sorted(VALUES)), st.none(), max_size=3).flatmap(
        lambda names: st.fixed_dictionaries({name: st.sampled_from(VALUES[name]) for name in names})
    ),
    st.sets(st.sampled_from(sorted(SOUND)), max_size=1),
)
ENTRIES = st.lists(st.tuples(IDS, FIELDS), max_size=6)
# What a rush looks like: every entry has the same fields.
ALIKE = st.sets(st.sampled_from("iox")).flatmap(
    lambda more: st.lists(
        st.tuples(
            st.integers(1, 10**14).map(lambda ticket: f"0-{ticket}"),
            st.fixed_dictionaries({name: st.sampled_from(VALUES[name][:2]) for name in [*"knt", *sorted(more)]}).map(
                lambda fields: SOUND | fields
            ),
        ),
        min_size=2,
        max_size=6,
    )
)


def one_by_one(entries):
    return [parse_entry(*entry) for entry in entries]


@given(st.one_of(ENTRIES, ALIKE, st.tuples(ENTRIES, ALIKE).map(lambda both: both[0] + both[1])))
def test_whatever_lies_in_the_line_is_read_as_it_is_one_by_one(entries):
    assert requests_of(entries) == one_by_one(entries)
    assert [type(request) for request in requests_of(entries)] == [mailbox.Request] * len(entries)


@pytest.mark.parametrize("more", [{}, {"i": "a key"}, {"i": "a key", "x": "a trace"}, {"o": "3"}], ids=str)
def test_a_rush_is_read_a_field_at_a_time(monkeypatch, more):
    """Or the test above proves nothing about it."""
    entries = [(f"0-{ticket}", SOUND | {"u": str(ticket)} | more) for ticket in range(1, 5)]
    expected = one_by_one(entries)
    monkeypatch.setattr(mailbox, "parse_entry", lambda *_: pytest.fail("an entry was read by itself"))

    assert requests_of(entries) == expected
    assert not any(request.malformed for request in expected)


def test_one_that_is_no_request_spoils_nobody_beside_it():
    entries = [("0-1", SOUND), ("0-2", SOUND | {"q": "0"}), ("0-3", SOUND)]

    assert [(request.ticket, request.malformed) for request in requests_of(entries)] == [
        (1, False),
        (2, True),
        (3, False),
    ]
