"""The kinds of faults: each is begun, lasts for a while, and is over when its function returns.

A fault is a coroutine over a `Site`. Whatever blocks runs on a thread, so that buyers and sockets go on meanwhile.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.ledger import Ledger
from tests.faults.oracle import Restore
from tests.faults.stack import Stack

Run = Callable[["Site"], Awaitable[None]]
Check = Callable[["Site"], Awaitable[list[str]]]


@dataclass(slots=True)
class Site:
    """Where a fault happens: the stack, the sales of the rush, and what the oracle must know of it afterwards."""

    stack: Stack
    rng: random.Random
    sale_ids: list[int]
    admin_token: str
    ledger: Ledger
    restores: list[Restore] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)  # what a fault's check must know of its run

    async def hold(self, least: float, most: float) -> None:
        """Let the fault last for a seeded while, in seconds."""
        await asyncio.sleep(self.rng.uniform(least, most))


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    `check` says what must be so after recovery, beyond what the oracle asks of every seed. `after` ends what outlives
    the seed: a fault that everything must work under, not only after.
    """

    name: str
    about: str
    run: Run
    check: Check | None = None
    after: Run | None = None
    may_be_second: bool = False


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, about: str, *, check: Check | None = None, after: Run | None = None, may_be_second: bool = False
) -> Callable[[Run], Run]:
    """Register a coroutine as a kind of fault."""

    def register(run: Run) -> Run:
        FAULTS[name] = Fault(name, about, run, check, after, may_be_second)
        return run

    return register


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true within so many seconds; asked on a thread."""
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True
