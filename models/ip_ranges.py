"""Which rule of many applies to an address: the most specific range wins, and allow beats deny at the same length.

Looked up on every request, so the rules lie in one dictionary for each prefix length in use: a look-up costs at most
one probe a length, however many thousands of ranges there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from models.addresses import Address, Network

FOREVER = datetime.max.replace(tzinfo=UTC)
NEVER = datetime.min.replace(tzinfo=UTC)
BITS = {4: 32, 6: 128}


class Action(StrEnum):
    """What a rule does with the addresses of its range."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """A range, what is done with it, and until when; None is for good."""

    network: Network
    action: Action
    expires_at: datetime | None = None


@dataclass(slots=True)
class _Until:
    """How long a range is allowed, and how long it is denied."""

    allow: datetime = NEVER
    deny: datetime = NEVER


class Ranges:
    """An immutable set of rules, made for looking up."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        tables: dict[int, dict[int, dict[int, _Until]]] = {4: {}, 6: {}}
        for rule in rules:
            network = rule.network
            key = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            until = tables[network.version].setdefault(network.prefixlen, {}).setdefault(key, _Until())
            if rule.action is Action.ALLOW:
                until.allow = max(until.allow, rule.expires_at or FOREVER)
            else:
                until.deny = max(until.deny, rule.expires_at or FOREVER)
        # The longest prefix first: (how many bits lie behind the prefix, its ranges).
        self._tables = {
            version: [(BITS[version] - length, lengths[length]) for length in sorted(lengths, reverse=True)]
            for version, lengths in tables.items()
        }

    def __bool__(self) -> bool:
        """Whether there is any rule at all."""
        return any(self._tables.values())

    def action_for(self, address: Address | None, now: datetime) -> Action | None:
        """What the rules say of an address at this moment; None where none of them speaks of it."""
        if address is None:
            return None
        number = int(address)
        for bits_behind, ranges in self._tables[address.version]:
            until = ranges.get(number >> bits_behind)
            if until is None:
                continue
            if until.allow > now:
                return Action.ALLOW
            if until.deny > now:
                return Action.DENY
        return None
