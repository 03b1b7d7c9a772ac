"""How long a change of stock takes to reach five thousand sockets of one sale, over two live processes, when the stock
changes ten times a second; beside one socket that is alone with its sale.

From before the transaction to the bytes in the client's hands. Changes that come faster than they can be told are told
as one: who hears of a later stock has heard of the earlier one too.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Sequence

import uvloop

from bench.listeners import Listener, join_many
from bench.progress import rounds_of, say
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import new_sale
from bench.sizes import size
from bench.stack import Running, Stack, measured_stack, started, wait_until_it_answers
from models.sales import patch_sale
from ops.errors import OpsError

SOCKETS = size(5_000, 100)
LIVE_PROCESSES = 2
CHANGES_PER_SECOND = 10
CHANGES = size(50, 10)
STOCK = 100_000
HEAR_SECONDS_MAX = 20
QUIET_SECONDS = 1.0


def run(rounds: int) -> Result:
    """A round is some seconds of changes of the one sale, and then of the other."""
    with (
        measured_stack(
            ("web", "live", "worker", "chores", "beat", "flower"),
            LIVE_WORKERS=str(LIVE_PROCESSES),
            # A crowd from one address is what the limits are there for; here it is only a benchmark.
            RATE_LIMIT_EXEMPT="127.0.0.0/8",
        ) as stack,
        started(stack, stack.row("live")) as live,
    ):
        wait_until_it_answers(f"{stack.live_url}/healthz")
        alone, crowd, costs = uvloop.run(_measure(stack, live, rounds))
        return Result(
            title=f"Changes of stock to {SOCKETS:,} sockets",
            tables=[
                Table(
                    "from before the transaction to the client",
                    "milliseconds",
                    [
                        Row("one socket, alone: median", tuple(_percentile(times, 0.5) for times in alone)),
                        Row(f"{SOCKETS:,} sockets: median", tuple(_percentile(times, 0.5) for times in crowd)),
                        Row(f"{SOCKETS:,} sockets: 99 %", tuple(_percentile(times, 0.99) for times in crowd)),
                        Row(f"{SOCKETS:,} sockets: the last of all", tuple(max(times) for times in crowd)),
                    ],
                ),
                Table("live's CPU an update a socket", "microseconds", [Row(f"{SOCKETS:,} sockets", tuple(costs))]),
            ],
            targets=[
                Target(
                    f"{SOCKETS:,} sockets, 99 % have heard, in milliseconds",
                    Row("", tuple(_percentile(times, 0.99) for times in crowd)).median,
                    at_most=1000,
                )
            ],
            notes=_notes(stack),
            servers=stack.versions(),
        )


async def _measure(
    stack: Stack, live: Running, rounds: int
) -> tuple[list[list[float]], list[list[float]], list[float]]:
    quiet, loud = new_sale("Alone", stock=STOCK), new_sale("Crowd", stock=STOCK)
    url = f"{stack.live_url}/ws"
    say(f"{SOCKETS:,} sockets join")
    one, many = await join_many(url, quiet, 1), await join_many(url, loud, SOCKETS)
    alone, crowd, costs = [], [], []
    for number in rounds_of(rounds, "fanout"):
        times, _ = await _change(live, quiet, one, STOCK + number * CHANGES)
        alone.append(times)
        times, cost = await _change(live, loud, many, STOCK + number * CHANGES)
        crowd.append(times)
        costs.append(cost)
    for listener in (*one, *many):
        listener.close()
    return alone, crowd, costs


async def _change(live: Running, sale_id: int, listeners: Sequence[Listener], stock: int) -> tuple[list[float], float]:
    """Raise the stock by one, ten times a second.

    Returns for each change and socket the milliseconds until it heard, and live's CPU in microseconds for each frame.
    """
    for listener in listeners:
        listener.heard.clear()
    cost = live.cpu_seconds()
    began: list[float] = []
    first_at = time.monotonic()
    for number in range(CHANGES):
        await asyncio.sleep(max(0.0, first_at + number / CHANGES_PER_SECOND - time.monotonic()))
        # When patch_sale returns it has told already: the clock starts before the transaction, not after it.
        began.append(time.monotonic())
        await asyncio.to_thread(patch_sale, sale_id, {"total_stock": stock + number + 1}, actor_id=None)
    await _until_heard(listeners, stock + CHANGES)
    cost = live.cpu_seconds() - cost
    frames = sum(len(listener.heard) for listener in listeners)
    times = [ms for listener in listeners for ms in _waits(listener, stock, began)]
    await asyncio.sleep(QUIET_SECONDS)
    return times, cost * 1e6 / frames


async def _until_heard(listeners: Sequence[Listener], stock: int) -> None:
    """Return when all have heard of this stock; raises OpsError where one has ended or does not hear of it."""
    deadline = time.monotonic() + HEAR_SECONDS_MAX
    while any(not listener.heard or listener.heard[-1][0] < stock for listener in listeners):
        ended = next((listener.ended for listener in listeners if listener.ended), "")
        if ended or time.monotonic() > deadline:
            raise OpsError(f"not every socket heard of the last change: {ended or 'too late'}")
        await asyncio.sleep(0.02)


def _waits(listener: Listener, stock: int, began: Sequence[float]) -> list[float]:
    """For each change the milliseconds to the first frame with its stock or a later one."""
    stocks = [heard for heard, _ in listener.heard]
    waits = []
    for number, began_at in enumerate(began, start=1):
        heard_at = listener.heard[bisect_left(stocks, stock + number)][1]
        waits.append(max(0.0, heard_at - began_at) * 1000)
    return waits


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _notes(stack: Stack) -> tuple[str, ...]:
    return (
        f"live: gunicorn with gevent, {stack.settings.live_workers} processes; all sockets are open at once",
        f"a round: {CHANGES} changes of the stock, {CHANGES_PER_SECOND} a second, each a transaction of its own",
        "the client is one process on the same cores; it reads every frame and answers every ping",
        "CPU: all that live's processes used during a round, by the frames that were heard",
    )


BENCHMARK = Benchmark(
    "fanout", f"ten changes of stock a second to {SOCKETS:,} sockets over {LIVE_PROCESSES} live processes", run, 3
)
