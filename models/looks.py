"""A look at one's purchase: what Redis knows of it, and whether whoever looks may, in one trip (models/look.lua).

It is what most buyers ask again and again after their 202, so it costs what the gate costs and no more. On a cluster
the keys of a user, of an address and of a sale lie on different shards, which are asked one after the other.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from models import mailbox, rediskeys
from models.gate import GivenBackError, Limit, TooOftenError
from models.gateline import GateScript
from models.purchases import in_line
from models.record import PurchaseRecord
from models.redisclient import read_count
from models.settings import settings
from models.trips import Trips

SCRIPTS = ("limit.lua", "asker.lua", "look.lua")

# A purchase by its sale and ticket.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Onlooker:
    """Whoever looks, by their token and as which customer their address counts; and how often both may."""

    user_id: int
    jti: str
    generation: int
    customer: str
    user_limits: tuple[Limit, ...] = ()
    address_limits: tuple[Limit, ...] = ()


@cache
def _script() -> GateScript:
    folder = Path(__file__).parent
    return GateScript("\n".join((folder / name).read_text() for name in SCRIPTS))


class Seen(NamedTuple):
    """What Redis knows of a purchase: the request, whoever's it is, if it waits in line, and through which ticket the
    outcomes of its sale were told to everybody (0: nobody knows)."""

    waiting: PurchaseRecord | None = None
    told_through: int = 0


async def look(trips: Trips, onlooker: Onlooker, place: Place | None) -> Seen:
    """Count a look at the purchase at this place.

    Without a place nothing is asked but whether whoever looks may. Raises GivenBackError and TooOftenError; redis
    errors where Redis is away, and GateBrokenError where something else lies in the place of a key. It may be repeated.
    """
    user_id, customer = onlooker.user_id, onlooker.customer
    of_user = [(rediskeys.looks_of_user(user_id, each.seconds), each) for each in onlooker.user_limits]
    of_address = [(rediskeys.looks_of_address(customer, each.seconds), each) for each in onlooker.address_limits]
    if not settings().redis_is_cluster:
        return await _ask(trips, onlooker, [*of_user, *of_address], place)
    await _ask(trips, onlooker, of_user, None)
    if of_address:
        await _ask(trips, None, of_address, None)
    return await _ask(trips, None, [], place) if place else Seen()


async def _ask(trips: Trips, token: Onlooker | None, limits: list[tuple[str, Limit]], place: Place | None) -> Seen:
    """Ask the parts of the script that are named; the limits by their keys. Raises as `look` does."""
    keys: list[str] = []
    arguments: list[str | int] = [int(token is not None), len(limits), int(place is not None)]
    if token:
        keys += (rediskeys.revoked(token.user_id, token.jti), rediskeys.generation(token.user_id))
        arguments.append(token.generation)
    for key, limit in limits:
        keys.append(key)
        arguments += (limit.amount, limit.seconds * 1000)
    if place:
        sale_id, ticket = place
        keys += (rediskeys.view(sale_id), rediskeys.mailbox(sale_id))
        arguments.append(f"0-{ticket}")
    code, *values = await _script().ask(trips, keys, arguments)
    if code == "REVOKED":
        raise GivenBackError
    if code == TooOftenError.code:
        which, wait_ms = values
        raise TooOftenError(limits[which - 1][1], wait_ms)
    return _seen(place, *values) if place else Seen()


def _seen(place: Place, fields: list[str], settled_through: str, pace: str) -> Seen:
    told_through = read_count(settled_through) or 0
    if not fields:
        return Seen(None, told_through)
    sale_id, ticket = place
    entry = dict(zip(fields[::2], fields[1::2], strict=True))
    return Seen(in_line(sale_id, mailbox.parse_entry(f"0-{ticket}", entry), settled_through, pace), told_through)
