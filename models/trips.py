"""How the steps of a request are waited for: by a thread that is held meanwhile, or on an event loop, which is not.

The way of a request to Redis, to PostgreSQL and to its outcome is written once, as coroutines over these trips. Who
serves with threads or greenlets takes each step at once (`HELD`, `at_once`); who serves many on one event loop has
others go on while one waits (models/looptrips.py).
"""

import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from models.gateline import Copies, gate_lines

T = TypeVar("T")


class Bell(Protocol):
    """What somebody waits for. It may be rung by any thread, and remembers it until it is heard."""

    def ring(self) -> None: ...

    async def heard(self, seconds: float) -> None:
        """Wait until it is rung, or so many seconds; whoever rings afterwards rings anew."""


class Trips(Protocol):
    """Ways to wait. `holds_thread` says whether whoever waits keeps a thread from others."""

    holds_thread: bool

    async def call(self, command: Iterable[str | int], *, key: str, copies: Copies | None = None) -> Any:
        """The answer of the Redis server that has the key; sent once. Raises as GateLines.call does."""

    async def aside(self, do: Callable[[], T]) -> T:
        """What `do` returns, which may wait for whatever it likes."""

    def bell(self) -> Bell: ...


class HeldTrips:
    """Steps that are done where they are asked for: nobody goes on until they are."""

    holds_thread = True

    async def call(self, command: Iterable[str | int], *, key: str, copies: Copies | None = None) -> Any:
        return gate_lines().call(command, key=key, copies=copies)

    async def aside(self, do: Callable[[], T]) -> T:
        return do()

    def bell(self) -> "HeldBell":
        return HeldBell()


class HeldBell:
    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        self._rung.set()

    async def heard(self, seconds: float) -> None:
        self._rung.wait(seconds)
        self._rung.clear()


HELD = HeldTrips()


def at_once(steps: Coroutine[Any, Any, T]) -> T:
    """What steps over HELD come to: they never hand the thread back before they are done. Raises what they raise."""
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    steps.close()
    raise RuntimeError("a step waited for an event loop")
