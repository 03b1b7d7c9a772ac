"""Shops for the model: machines, and what runs on which of them; and the crowds that come to them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

from ops.errors import OpsError

# Of the cores in front, one in eight is live's: it has sockets, and nobody who waits for an outcome.
LIVE_SHARE = 0.125
# From this many machines on, Redis and PostgreSQL have one each to themselves.
APART = 3
# As the settings have it unless told otherwise.
LINE_MAX = 200_000
BATCH_MAX = 1_000
BATCHES_PER_TURN = 16
# What Redis reads of a connection in one go, at least; each of web's processes has one, with all who ask there. And how
# much of it a request for units is: the script's name, its keys and what it has to know.
READ_BYTES, REQUEST_BYTES = 16_384, 900
TAKEN = READ_BYTES // REQUEST_BYTES
# Of one live process.
SOCKETS_MAX = 6_000


@dataclass(frozen=True, slots=True)
class Shop:
    """Cores by the name of their pool, and the pool that each part runs in. Machines of one kind make one pool."""

    name: str
    cores: Mapping[str, float]
    web: str = "all"
    redis: str = "all"
    worker: str = "all"
    postgres: str = "all"
    web_processes: int = 2
    live_processes: int = 1
    workers: int = 1
    shards: int = 1  # of a Redis Cluster; 1 is a single Redis
    line_max: int = LINE_MAX
    batch_max: int = BATCH_MAX
    batches_per_turn: int = BATCHES_PER_TURN
    velocity: bool = True  # whether the gate judges how much is behind a request
    # Whether web says "sold out" by itself to a crowd, for a moment after the gate said so (docs/decisions/0030).
    repeats: bool = True

    @property
    def at_once(self) -> int:
        """As many requests as Redis takes in one go, and then asks its disk once for all of them."""
        return self.web_processes * TAKEN


@dataclass(frozen=True, slots=True)
class Crowd:
    """Buyers of one unit each, who all come within `window_seconds`; or, with `connections`, one after the other over
    so many of them, from a load generator on the same cores, for at most `send_seconds`."""

    buyers: int
    units: int
    window_seconds: float = 10.0
    sales: int = 1
    connections: int = 0
    send_seconds: float = float("inf")
    waits: bool = False  # whether the next one over a connection comes when the one before knows, or has a ticket
    # Of the buyers, how many have a socket open and hear every change of the stock.
    listening: float = 0.1
    # Who is told that the line is full comes again after one to two seconds, so often.
    tries_max: int = 60
    seed: int = 1


def one_machine(cores: float = 2, **more: object) -> Shop:
    """Everything on one machine, as `make run` has it."""
    return replace(Shop(f"1 machine of {cores:g} cores", {"all": cores}), **more)  # type: ignore[arg-type]


def machines(count: int, cores: int, *, sales: int = 1, shards: int = 1, **more: object) -> Shop:
    """So many machines of so many cores.

    One has everything; of two, one has web and live; of more, PostgreSQL has one with the workers, and Redis one, or as
    many as its shards need at a core each. Raises OpsError where that leaves none for web.
    """
    behind = {"back": float(cores)} if count > 1 else {}
    if count >= APART:
        behind["redis"] = float(cores * ceil(shards / cores))
    front = cores * count - int(sum(behind.values()))
    if front <= 0:
        raise OpsError(f"{count} machines are too few for {shards} shards, PostgreSQL and web")
    live = max(1, round(front * LIVE_SHARE))
    places = ("front", "redis" if "redis" in behind else "back", "back", "back") if behind else ("all",) * 4
    shop = Shop(
        f"{count} machine{'' if count == 1 else 's'} of {cores} cores",
        {places[0]: float(front), **behind},
        *places,
        web_processes=max(1, front - live),
        live_processes=live,
        workers=max(1, min(sales, cores // 2)),
        shards=shards,
    )
    return replace(shop, **more)  # type: ignore[arg-type]
