"""Addresses of clients, and ranges of them: one spelling of each, and which range an address counts as."""

import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# An IPv6 customer has a whole /64 of addresses to come from; it counts as one.
IPV6_CUSTOMER_PREFIX = 64
# Where IPv4 addresses live inside IPv6 (RFC 4291, section 2.5.5.2): a socket that listens on both shows them so.
MAPPED = IPv6Network("::ffff:0:0/96")
# The form of a range in CIDR notation: no netmask, no zone, nothing that ipaddress would guess at.
RANGE = re.compile(r"[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?", re.ASCII)


@lru_cache(maxsize=8192)
def parse_address(text: str) -> Address | None:
    """An address in its one form: IPv4-mapped IPv6 as IPv4, IPv6 without a zone. None for what is no address."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        # Without the zone ("%eth0"), which means something on one machine alone.
        return parsed.ipv4_mapped or IPv6Address(int(parsed))
    return parsed


def is_ipv4(text: str) -> bool:
    """Whether this is an IPv4 address, which has one form alone: told without making anything of it."""
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def one_form(text: str) -> str | None:
    """An address as `parse_address` has it, as text. None for what is no address."""
    if is_ipv4(text):
        return text
    parsed = parse_address(text)
    return str(parsed) if parsed else None


def read_range(value: object) -> Network:
    """A range in CIDR notation, or one address; IPv4-mapped IPv6 becomes IPv4. Raises ValueError."""
    if not isinstance(value, str) or not RANGE.fullmatch(value):
        raise ValueError("must be a range of addresses, such as 203.0.113.0/24 or 2001:db8::/32")
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be a range of addresses, such as 203.0.113.0/24 or 2001:db8::/32") from None
    if parse_address(value.partition("/")[0]) != parse_address(str(network.network_address)):
        raise ValueError("must be the range's first address: bits behind the prefix are set")
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        return _unmapped(network)
    return network


def _unmapped(network: IPv6Network) -> IPv4Network:
    first = int(network.network_address) - int(MAPPED.network_address)
    return IPv4Network((first, network.prefixlen - MAPPED.prefixlen))


def customer_of(text: str) -> str:
    """What counts as one customer: an IPv4 address, the /64 of an IPv6 address, or the text if it is neither."""
    if is_ipv4(text):
        return text
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        bits = 128 - IPV6_CUSTOMER_PREFIX
        return f"{IPv6Address(int(address) >> bits << bits)}/{IPV6_CUSTOMER_PREFIX}"
    return str(address) if address else text
