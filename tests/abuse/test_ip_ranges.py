"""Which rule applies to an address."""

import random
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.addresses import customer_of, parse_address, read_range
from models.ip_ranges import Action, Ranges, Rule

NOW = datetime(2026, 11, 27, 18, tzinfo=UTC)
ALLOW, DENY = Action.ALLOW, Action.DENY


def rules(*written):
    return Ranges(Rule(ip_network(network), action, *rest) for network, action, *rest in written)


def asked(ranges, address, now=NOW):
    return ranges.action_for(parse_address(address), now)


def test_without_rules_nothing_is_said():
    assert asked(Ranges(), "203.0.113.7") is None


def test_the_most_specific_range_wins_whichever_way_it_decides():
    ranges = rules(("203.0.113.0/24", DENY), ("203.0.113.128/25", ALLOW), ("203.0.113.200/32", DENY))

    assert asked(ranges, "203.0.113.7") is DENY
    assert asked(ranges, "203.0.113.129") is ALLOW
    assert asked(ranges, "203.0.113.200") is DENY
    assert asked(ranges, "203.0.114.1") is None


def test_of_two_rules_for_one_range_the_allowing_one_wins():
    assert asked(rules(("203.0.113.0/24", DENY), ("203.0.113.0/24", ALLOW)), "203.0.113.7") is ALLOW


def test_a_rule_does_nothing_from_its_expiry_on_and_the_wider_range_decides_again():
    ranges = rules(("203.0.113.0/24", DENY), ("203.0.113.7/32", ALLOW, NOW + timedelta(hours=1)))

    assert asked(ranges, "203.0.113.7", NOW + timedelta(minutes=59, seconds=59)) is ALLOW
    assert asked(ranges, "203.0.113.7", NOW + timedelta(hours=1)) is DENY


def test_an_expired_allowance_leaves_the_denial_of_the_same_range():
    ranges = rules(("203.0.113.0/24", ALLOW, NOW), ("203.0.113.0/24", DENY))

    assert asked(ranges, "203.0.113.7") is DENY


def test_everything_can_be_denied_but_one_office():
    ranges = rules(("0.0.0.0/0", DENY), ("::/0", DENY), ("198.51.100.0/24", ALLOW))

    assert asked(ranges, "203.0.113.7") is DENY
    assert asked(ranges, "2001:db8::1") is DENY
    assert asked(ranges, "198.51.100.7") is ALLOW


def test_ipv4_that_comes_as_ipv6_is_ipv4():
    ranges = rules(("203.0.113.0/24", DENY))

    assert asked(ranges, "::ffff:203.0.113.7") is DENY
    assert asked(ranges, "::ffff:cb00:7107") is DENY
    # Other ways to write IPv4 inside IPv6 are addresses of their own.
    assert asked(ranges, "::203.0.113.7") is None


def test_a_zone_is_no_part_of_an_address():
    assert asked(rules(("fe80::/10", DENY)), "fe80::1%eth0") is DENY


@pytest.mark.parametrize("text", ["unknown", "", "203.0.113", "203.0.113.256", "203.0.113.07", "1.2.3.4:80", "[::1]"])
def test_what_is_no_address_is_in_no_range(text):
    assert parse_address(text) is None
    assert asked(rules(("0.0.0.0/0", DENY), ("::/0", DENY)), text) is None


@pytest.mark.parametrize(
    ("address", "customer"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:DB8:0:1::", "2001:db8:0:1::/64"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv6_customer_has_a_whole_64_and_an_ipv4_customer_one_address(address, customer):
    assert customer_of(address) == customer


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.7", "203.0.113.7/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ],
)
def test_a_range_has_one_spelling(text, network):
    assert str(read_range(text)) == network


WIDTHS = {4: 32, 6: 128}


@st.composite
def worlds(draw):
    """A few ranges close to each other, and addresses in and around them."""
    chance = draw(st.randoms(use_true_random=False))
    written = []
    for _ in range(draw(st.integers(0, 12))):
        start = chance.choice([ip_address("10.0.0.0"), ip_address("2001:db8::")])
        bits = WIDTHS[start.version]
        length = bits - chance.randint(0, 4)
        number = (int(start) + chance.randint(0, 15)) >> (bits - length) << (bits - length)
        network = ip_network((number, length))
        expires_at = chance.choice([None, NOW - timedelta(1), NOW, NOW + timedelta(1)])
        written.append(Rule(network, chance.choice([ALLOW, DENY]), expires_at))
    return written


def _by_the_book(written, address):
    """The rule as it is written down: all that cover it and are in force, the longest first, allow before deny."""
    covering = [
        rule
        for rule in written
        if rule.network.version == address.version
        and address in rule.network
        and (rule.expires_at is None or rule.expires_at > NOW)
    ]
    if not covering:
        return None
    return max(covering, key=lambda rule: (rule.network.prefixlen, rule.action is ALLOW)).action


@given(worlds())
def test_the_quick_look_up_agrees_with_the_slow_one(written):
    ranges = Ranges(written)

    for start in (ip_address("10.0.0.0"), ip_address("2001:db8::")):
        for offset in range(16):
            assert ranges.action_for(start + offset, NOW) == _by_the_book(written, start + offset)


def test_ten_thousand_ranges_are_looked_up_by_prefix_and_not_one_by_one():
    chance = random.Random(7)
    networks = {ip_network((chance.getrandbits(24) << 8, 24)) for _ in range(10_000)}
    ranges = Ranges(Rule(network, DENY) for network in networks)

    # One prefix length in use: one table to look in.
    assert [len(table) for _, table in ranges._tables[4]] == [len(networks)]
    assert all(ranges.action_for(network.network_address + 5, NOW) is DENY for network in networks)
