"""The mailbox: the sale's Redis stream of admitted requests that wait to be settled.

An entry's id is `0-<ticket>`, so the stream itself numbers the line and keeps it in order.
"""

from typing import cast

from models import rediskeys
from models.decide import Request
from models.purchase import Kind
from models.redisclient import redis_client

Entries = list[tuple[str, dict[str, str]]]

BIGINT_MAX = 2**63 - 1
KINDS = {"p": Kind.PURCHASE, "r": Kind.RESERVATION}


def clear_awake(sale_id: int) -> None:
    """Let the next request send a wake-up again; called as settle begins, before it reads."""
    redis_client().delete(rediskeys.awake(sale_id))


def mark_awake(sale_id: int) -> bool:
    """Claim the right to send a wake-up; False if one is on its way already."""
    return bool(redis_client().set(rediskeys.awake(sale_id), "1", nx=True, px=rediskeys.AWAKE_MS))


def read(sale_id: int, count: int) -> list[Request]:
    """The oldest `count` entries in ticket order, leftovers of an unfinished settle included."""
    entries = cast(Entries, redis_client().xrange(rediskeys.mailbox(sale_id), count=count))
    return [parse_entry(entry_id, fields) for entry_id, fields in entries]


def find(sale_id: int, ticket: int) -> Request | None:
    """The waiting request with this ticket, or None."""
    entry_id = f"0-{ticket}"
    found = cast(Entries, redis_client().xrange(rediskeys.mailbox(sale_id), min=entry_id, max=entry_id))
    return parse_entry(*found[0]) if found else None


def moved_to(sale_id: int, ticket: int, user_id: int) -> int | None:
    """The new ticket of a request that had to line up anew, or None."""
    found = cast(str | None, redis_client().get(rediskeys.moved(sale_id, ticket, user_id)))
    return int(found) if found else None


def oldest_waits(sale_ids: list[int]) -> dict[int, int | None]:
    """For each sale whose mailbox is not empty: when its oldest entry was admitted (ms; None where unreadable)."""
    pipeline = redis_client().pipeline(transaction=False)
    for sale_id in sale_ids:
        pipeline.xrange(rediskeys.mailbox(sale_id), count=1)
    waits: dict[int, int | None] = {}
    for sale_id, entries in zip(sale_ids, pipeline.execute(), strict=True):
        if entries:
            request = parse_entry(*entries[0])
            waits[sale_id] = None if request.malformed else request.admitted_ms
    return waits


def parse_entry(entry_id: str, fields: dict[str, str]) -> Request:
    """A request from its entry; what is no request keeps its ticket and is marked malformed."""
    ticket = int(entry_id.partition("-")[2])
    try:
        return Request(
            ticket=ticket,
            user_id=_bigint(fields["u"]),
            kind=KINDS[fields["k"]],
            quantity=_bigint(fields["q"]),
            nonce=fields["n"],
            admitted_ms=int(fields["t"]),
            idempotency_key=fields.get("i"),
            original_ticket=int(fields["o"]) if "o" in fields else None,
        )
    except (KeyError, ValueError):
        return Request(ticket, 0, Kind.PURCHASE, 0, nonce="", admitted_ms=0, malformed=True)


def _bigint(text: str) -> int:
    """A number that PostgreSQL can hold: one entry must never be able to fail its whole batch."""
    number = int(text)
    if not 0 <= number <= BIGINT_MAX:
        raise ValueError(text)
    return number
