"""The mailbox: the sale's Redis stream of admitted requests that wait to be settled.

An entry's id is `0-<ticket>`, so the stream itself numbers the line and keeps it in order.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import cast

import structlog
from redis.exceptions import ResponseError

from models import rediskeys
from models.decide import Request
from models.gate import LAST_MS, QUANTITY_MAX
from models.purchase import Kind
from models.redisclient import read_count, redis_client

log = structlog.get_logger()

Entries = list[tuple[str, dict[str, str]]]

BIGINT_MAX = 2**63 - 1
# Longer ones are no work of our gate, and too long for an index.
TEXT_LENGTH_MAX = 200
ENTRY_ID = re.compile(r"0-([0-9]{1,15})")
# What an entry has for a ticket that lies under an id which no gate gives out.
NO_TICKET = 0
# What PTTL says of a key that stays.
NO_END = -1
# A sound one has these, and others with them: buyer, kind, units, nonce, time.
FIELDS_LEAST = len("ukqnt")
KINDS = {"p": Kind.PURCHASE, "r": Kind.RESERVATION}


def clear_awake(sale_id: int) -> None:
    """Let the next request send a wake-up again."""
    redis_client().delete(rediskeys.awake(sale_id))


def take_up(sale_id: int, count: int, *, stays: bool = False) -> list[Request]:
    """Begin a turn at a line, in one trip: let the next request send a wake-up again, and only then `read`.

    Whoever `stays` needs none, and has said so: `watch`.
    """
    if stays:
        return read(sale_id, count)
    pipeline = redis_client().pipeline(transaction=False)
    pipeline.delete(rediskeys.awake(sale_id))
    pipeline.xrange(rediskeys.mailbox(sale_id), count=count)
    return requests_of(cast(Entries, pipeline.execute()[-1]))


def watch(sale_id: int, milliseconds: int, *, announced: bool) -> bool:
    """Whether there is a request in line, or comes within so long.

    Nobody sends a wake-up for STAYING_MS: of `announced` watches that was said before, which spares Redis the writing.
    """
    pipeline = redis_client().pipeline(transaction=False)
    if not announced:
        pipeline.set(rediskeys.awake(sale_id), "1", px=rediskeys.STAYING_MS)
    pipeline.xread({rediskeys.mailbox(sale_id): "0-0"}, count=1, block=milliseconds)
    return bool(pipeline.execute()[-1])


def mark_awake(sale_id: int) -> bool:
    """Claim the right to send a wake-up; False if one is on its way already."""
    key = rediskeys.awake(sale_id)
    if redis_client().set(key, "1", nx=True, px=rediskeys.AWAKE_MS):
        return True
    # A flag without an end is somebody else's, and would keep the sale asleep for ever.
    left_ms = cast(int, redis_client().pttl(key))
    if left_ms == NO_END or left_ms > rediskeys.AWAKE_MS:
        return bool(redis_client().set(key, "1", px=rediskeys.AWAKE_MS))
    return False


def ask_for_another_turn(sale_id: int) -> None:
    """Have whoever settles this sale at this moment look into its line once more."""
    redis_client().set(rediskeys.asked(sale_id), "1", px=rediskeys.AWAKE_MS)


def was_asked_for_another_turn(sale_id: int) -> bool:
    """Whether another worker came while this one had the sale; asked behind a turn's last commit, and forgotten."""
    return bool(redis_client().delete(rediskeys.asked(sale_id)))


def read(sale_id: int, count: int, *, behind: int = NO_TICKET) -> list[Request]:
    """The oldest `count` entries in ticket order, leftovers of an unfinished settle included; or those behind one."""
    first = f"(0-{behind}" if behind else "-"
    return requests_of(cast(Entries, redis_client().xrange(rediskeys.mailbox(sale_id), first, count=count)))


def find(sale_id: int, ticket: int) -> Request | None:
    """The waiting request with this ticket, or None."""
    entry_id = f"0-{ticket}"
    found = cast(Entries, redis_client().xrange(rediskeys.mailbox(sale_id), min=entry_id, max=entry_id))
    return parse_entry(*found[0]) if found else None


def moved_to(sale_id: int, ticket: int, user_id: int) -> int | None:
    """The new ticket of a request that had to line up anew, or None."""
    return read_count(redis_client().get(rediskeys.moved(sale_id, ticket, user_id)))


def oldest_waits(sale_ids: list[int]) -> dict[int, int | None]:
    """For each sale whose mailbox is not empty: when its oldest entry was admitted (ms; None where unreadable).

    Where something else lies in a mailbox's place, its sale is left out with an error in the log, and no other.
    """
    pipeline = redis_client().pipeline(transaction=False)
    for sale_id in sale_ids:
        pipeline.xrange(rediskeys.mailbox(sale_id), count=1)
    waits: dict[int, int | None] = {}
    for sale_id, entries in zip(sale_ids, pipeline.execute(raise_on_error=False), strict=True):
        if isinstance(entries, ResponseError):
            log.error("mailbox.spoilt", sale=sale_id, error=str(entries))
        elif isinstance(entries, Exception):
            raise entries
        elif entries:
            request = parse_entry(*entries[0])
            waits[sale_id] = None if request.malformed else request.admitted_ms
    return waits


def requests_of(entries: Entries) -> list[Request]:
    """Requests in the order of their entries.

    Where all have the same fields, as the gate writes them in a rush, they are read a field at a time: then no step of
    Python's is taken for an entry alone.
    """
    if len(entries) > 1:
        with suppress(KeyError, ValueError):
            return _parse_alike(entries)
    return [parse_entry(entry_id, fields) for entry_id, fields in entries]


def parse_entry(entry_id: str, fields: dict[str, str]) -> Request:
    """A request from its entry; what is no request keeps its ticket and is marked malformed.

    One entry must never be able to fail its whole batch: what comes out of here, PostgreSQL can hold.
    """
    found = ENTRY_ID.fullmatch(entry_id)
    ticket = int(found[1]) if found else NO_TICKET
    try:
        return Request(
            ticket=ticket,
            user_id=_whole(fields["u"], 0, BIGINT_MAX),
            kind=KINDS[fields["k"]],
            quantity=_whole(fields["q"], 1, QUANTITY_MAX),
            nonce=_text(fields["n"]),
            admitted_ms=_whole(fields["t"], 1, LAST_MS),
            idempotency_key=_text(fields["i"]) if "i" in fields else None,
            original_ticket=_whole(fields["o"], 1, BIGINT_MAX) if "o" in fields else None,
            trace=fields.get("x"),
        )
    except (KeyError, ValueError):
        return Request(ticket, 0, Kind.PURCHASE, 0, nonce="", admitted_ms=0, malformed=True)


def _parse_alike(entries: Entries) -> list[Request]:
    """What `parse_entry` makes of each of these. Raises KeyError and ValueError where they are not all sound requests
    with the same fields."""
    ids, fields = zip(*entries, strict=True)
    names = tuple(fields[0])
    if len(names) < FIELDS_LEAST or set(map(len, fields)) != {len(names)}:
        raise ValueError(names)
    values = dict(zip(names, zip(*map(itemgetter(*names), fields), strict=True), strict=True))
    nobody: list[None] = [None] * len(ids)
    requests = zip(
        _tickets(ids),
        _wholes(values["u"], 0, BIGINT_MAX),
        map(KINDS.__getitem__, values["k"]),
        _wholes(values["q"], 1, QUANTITY_MAX),
        _texts(values["n"]),
        _wholes(values["t"], 1, LAST_MS),
        _texts(values["i"]) if "i" in values else nobody,
        _wholes(values["o"], 1, BIGINT_MAX) if "o" in values else nobody,
        [False] * len(ids),
        values.get("x", nobody),
        strict=True,
    )
    # Not by Request itself: it is a function of Python's.
    return list(map(partial(tuple.__new__, Request), requests))


def _tickets(ids: Sequence[str]) -> list[int]:
    """Raises ValueError where an id is none that the gate gives out."""
    if not all(map(ENTRY_ID.fullmatch, ids)):
        raise ValueError(ids)
    return [int(entry_id[2:]) for entry_id in ids]


def _wholes(texts: Sequence[str], least: int, most: int) -> list[int]:
    numbers = list(map(int, texts))
    if min(numbers) < least or max(numbers) > most:
        raise ValueError(least, most)
    return numbers


def _texts(texts: Sequence[str]) -> Sequence[str]:
    if "\x00" in "".join(texts) or max(map(len, texts)) > TEXT_LENGTH_MAX:
        raise ValueError(TEXT_LENGTH_MAX)
    return texts


def _whole(text: str, least: int, most: int) -> int:
    number = int(text)
    if not least <= number <= most:
        raise ValueError(text)
    return number


def _text(text: str) -> str:
    if "\x00" in text or len(text) > TEXT_LENGTH_MAX:
        raise ValueError(text)
    return text
