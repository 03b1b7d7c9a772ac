"""What one request costs each part of the shop, from the figures in `docs/benchmarks`.

What is not measured there yet is taken from `ASSUMED`, and says so; once the benchmark has written the figure, that one
is used and the assumption is not.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from bench.shop import BATCH_MAX, BATCHES_PER_TURN
from ops.errors import OpsError

# A row's median, from a benchmark's file; raises LookupError where there is no such row.
Row = Callable[[str, str, str], float]
# How to read a figure, and from which page it is then.
Reading = tuple[Callable[[], float], str]

PROCESSES = 2
OF_PROCESSES = {1: "1 process", 2: "2 processes"}
# The table that `bench.replicas` writes into `docs/promises.md`.
PRICE = "one Redis"
BARE, SHOP = "bare Flask POST", "POST …/purchases"
LOAD = "load and the rest of the machine"
# What of the shop is busy though nobody buys.
IDLE = ("web", "worker", "PostgreSQL", "Redis", "chores and beat")
# As `settle` measures: a long line.
TURN_REQUESTS = BATCH_MAX * BATCHES_PER_TURN


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds of one core a request, unless a line says otherwise."""

    web_accept_ms: float
    web_refuse_ms: float  # of a refusal that web repeats by itself; one by the gate costs what an admission does
    gate_accept_ms: float
    fsync_ms: float  # of Redis's thread, once for all that it takes in one go; of PostgreSQL, once a batch; no CPU
    rest_ms: float  # of the load generator and the kernel's own threads, where they share the cores
    rest_refuse_ms: float  # the same for a refusal by web itself, which no disk hears of
    rest_rush_ms: float  # the same where the generator reads in each answer what it says, as in a burst
    settle_worker_ms: float
    settle_beside_ms: float  # of the worker's: telling and reading ahead, while PostgreSQL writes
    settle_postgres_ms: float
    settle_redis_ms: float
    turn_worker_ms: float  # a turn at a line, however few wait there
    turn_postgres_ms: float
    turn_redis_ms: float
    wake_ms: float  # of whoever wakes a sale: web, or the worker that has not come to the line's end
    idle_ms: float  # a second, of the machine that has the workers: chores and beat
    tell_ms: float  # of web, for whoever waits there for an outcome
    frame_ms: float  # of live, an update a socket
    line_bytes: float  # of Redis's memory, a waiting request


@dataclass(frozen=True, slots=True)
class Figure:
    """One of `Costs`: what it is, and where it is from. `missing` says why it had to be assumed."""

    name: str
    value: float
    about: str
    source: str
    missing: str = ""


ABOUT = {
    "web_accept_ms": "web's CPU for a request that is let in, ms",
    "web_refuse_ms": "web's CPU for a refusal after the sell-out that it repeats by itself, ms",
    "gate_accept_ms": "Redis's CPU for a request that is let in, ms",
    "fsync_ms": "Redis's wait for its disk, once for all that it takes in one go, and PostgreSQL's, once a batch, ms",
    "rest_ms": "CPU of the load generator and of the kernel's own threads a request, where they share the cores, ms",
    "rest_refuse_ms": "the same for a refusal that web repeats by itself, ms",
    "rest_rush_ms": "the same in a burst, where the generator reads what each answer says, ms",
    "settle_worker_ms": "the worker's CPU for a request that is settled, ms",
    "settle_beside_ms": "of it, what it does while PostgreSQL writes, ms",
    "settle_postgres_ms": "PostgreSQL's CPU for a request that is settled, ms",
    "settle_redis_ms": "Redis's CPU for a request that is settled, ms",
    "turn_worker_ms": "the worker's CPU for a turn at a line, however short, ms",
    "turn_postgres_ms": "PostgreSQL's CPU for a turn, ms",
    "turn_redis_ms": "Redis's CPU for a turn, ms",
    "wake_ms": "CPU of whoever wakes a sale for a turn, ms",
    "idle_ms": "CPU a second of a shop in which nobody buys: chores and beat, ms",
    "tell_ms": "web's CPU for a wait until the outcome is told, ms",
    "frame_ms": "live's CPU for one update to one socket, ms",
    "line_bytes": "Redis's memory for a waiting request, bytes",
}

# What stands in for a figure that no benchmark has written yet, and why this number.
ASSUMED: dict[str, tuple[float, str]] = {
    "fsync_ms": (1.0, "a guess: a disk of flash memory"),
    "settle_worker_ms": (0.048, "[decision 17](decisions/0017-settling-without-copies.md)"),
    "settle_beside_ms": (0.015, "a guess: a third of what the worker does"),
    "settle_postgres_ms": (0.0333, "[decision 20](decisions/0020-outcomes-in-one-message.md)"),
    "settle_redis_ms": (0.02, "a guess: a twelfth of what the gate costs"),
    "turn_worker_ms": (5.0, "a guess: a Celery task and a transaction"),
    "turn_postgres_ms": (1.0, "a guess: a short transaction"),
    "turn_redis_ms": (1.0, "a guess: nine questions"),
    "wake_ms": (1.1, "a guess: one Celery message"),
    "idle_ms": (60.0, "a guess: five chores a second"),
    "tell_ms": (0.1, "a guess: a third of what it costs to let somebody in"),
    "frame_ms": (0.025, "a guess: two thousand sockets hear in about fifty milliseconds"),
    "line_bytes": (600.0, "what the [runbook](runbook.md) counts with"),
}

WAITING = "a waiting request"
# What a refusal costs at most.
LET_IN = {"web_refuse_ms": "web_accept_ms", "rest_refuse_ms": "rest_ms", "rest_rush_ms": "rest_ms"}


def calibrate(folder: Path, *, processes: int = PROCESSES) -> tuple[Costs, list[Figure]]:
    """The costs with so many web processes, and where each is from; raises OpsError without `accept.json`."""
    row = partial(median_of, folder)
    try:
        found = _of_accepting(row, processes)
    except LookupError as why:
        raise OpsError(f"accepting must be measured first, by `make bench ONLY=accept`: {why}") from why
    for name, (read, source) in (_of_settling(row) | _of_the_rest(row)).items():
        found[name] = _read_or_assume(name, read, source, found)
    figures = [found[each.name] for each in fields(Costs)]
    return Costs(*(figure.value for figure in figures)), figures


def _of_accepting(row: Row, processes: int) -> dict[str, Figure]:
    source = f"[accept](benchmarks/accept.md), {OF_PROCESSES[processes]}"
    table = f"{OF_PROCESSES[processes]}: CPU a request"
    found = {
        "web_accept_ms": row("accept", table, f"web: {SHOP}, {OF_PROCESSES[processes]}"),
        "gate_accept_ms": row("accept", table, f"Redis: {SHOP}"),
    }
    made = {name: Figure(name, value, ABOUT[name], source) for name, value in found.items()}
    made["rest_ms"] = _rest(row, table, source)
    return made


def _rest(row: Row, table: str, source: str) -> Figure:
    try:
        return Figure("rest_ms", row("accept", table, f"{LOAD}: {SHOP}"), ABOUT["rest_ms"], source)
    except LookupError:
        # Measured before that was weighed. Bare Flask on two processes fills both cores: what web leaves is the rest's.
        rate = row("accept", "2 processes, 64 connections", f"{BARE}, 2 processes")
        web_ms = row("accept", "2 processes: CPU a request", f"web: {BARE}, 2 processes")
        left_ms = max(0.0, row("accept", "machine", "cores") * 1000 / rate - web_ms)
        about = "[accept](benchmarks/accept.md): what bare Flask on 2 processes leaves of the cores"
        return Figure("rest_ms", left_ms, ABOUT["rest_ms"], about)


def _of_settling(row: Row) -> dict[str, Reading]:
    """What settling costs, by request and by turn."""

    def turn(name: str) -> Callable[[], float]:
        return lambda: row("settle", "CPU a turn at a line of one request", name)

    def settled(name: str) -> Callable[[], float]:
        def read() -> float:
            each = row("settle", "CPU a request", name) / 1000
            # Its share of a turn is counted with the turn, once that is measured.
            with suppress(LookupError):
                each -= turn(name)() / TURN_REQUESTS
            return each

        return read

    def beside() -> float:
        # The first batch of a turn is read, and the last one told, while nobody writes.
        share = (BATCHES_PER_TURN - 1) / BATCHES_PER_TURN
        return row("settle", "CPU a request", "of the worker, beside PostgreSQL") / 1000 / share

    settle, a_turn = "[settle](benchmarks/settle.md)", "[settle](benchmarks/settle.md): lines of one request"
    return {
        "settle_worker_ms": (settled("worker"), settle),
        "settle_beside_ms": (beside, settle),
        "settle_postgres_ms": (settled("PostgreSQL, settling"), settle),
        "settle_redis_ms": (settled("Redis"), settle),
        "turn_worker_ms": (turn("worker"), a_turn),
        "turn_postgres_ms": (turn("PostgreSQL, settling"), a_turn),
        "turn_redis_ms": (turn("Redis"), a_turn),
        "wake_ms": (turn("whoever wakes"), a_turn),
    }


def _of_the_rest(row: Row) -> dict[str, Reading]:
    """What is neither of accepting nor of settling."""

    def idle() -> float:
        return sum(row("whole", "CPU while nobody buys", name) for name in IDLE)

    def told() -> float:
        waits, leaves = (row("answered", "web's CPU a request", name) for name in ("Prefer: wait", "202, nobody waits"))
        return max(0.0, waits - leaves)

    return {
        "web_refuse_ms": (
            lambda: row("accept", "CPU a refusal after the sell-out, 2 processes", "web"),
            "[accept](benchmarks/accept.md), 2 processes",
        ),
        "rest_refuse_ms": (
            lambda: row("accept", "CPU a refusal after the sell-out, 2 processes", LOAD),
            "[accept](benchmarks/accept.md), 2 processes",
        ),
        "rest_rush_ms": (
            lambda: row("burst", "50,000 buyers: CPU a request of the load and the rest of the machine", "202"),
            "[burst](benchmarks/burst.md), 50,000 buyers",
        ),
        "fsync_ms": (
            lambda: row("promises", PRICE, "`appendfsync always`") - row("promises", PRICE, "`appendfsync everysec`"),
            "[promises](promises.md#what-it-costs), lowest rounds: `always` less `everysec`",
        ),
        "idle_ms": (idle, "[whole](benchmarks/whole.md): the shop before anybody comes"),
        "tell_ms": (told, "[answered](benchmarks/answered.md): `Prefer: wait` less 202"),
        "frame_ms": (
            lambda: row("fanout", "live's CPU an update a socket", "5,000 sockets") / 1000,
            "[fanout](benchmarks/fanout.md)",
        ),
        "line_bytes": (
            # The larger one: whoever does not want to buy twice sends a key.
            lambda: row("growth", "memory of a waiting request", f"{WAITING} with an Idempotency-Key of 36 letters"),
            "[growth](benchmarks/growth.md)",
        ),
    }


def _read_or_assume(name: str, read: Callable[[], float], source: str, found: dict[str, Figure]) -> Figure:
    try:
        return Figure(name, read(), ABOUT[name], source)
    except LookupError as why:
        value, reason = _assumed(name, found)
        return Figure(name, value, ABOUT[name], reason, missing=str(why.args[0]))


def _assumed(name: str, found: dict[str, Figure]) -> tuple[float, str]:
    if name in ASSUMED:
        return ASSUMED[name]
    # Whoever is refused by web alone is asked for the token and the address, and for nothing else.
    return found[LET_IN[name]].value, "as much as a request that is let in: no more than that"


def median_of(folder: Path, name: str, table: str, row: str) -> float:
    """A figure of `<name>.json`; of the table `machine` what the file says of its machine. Raises LookupError."""
    if table == PRICE:
        return _lowest_price(folder.parent / f"{name}.md", f"{table}, {row}")
    try:
        figures: dict[str, Any] = orjson.loads((folder / f"{name}.json").read_bytes())
    except OSError:
        raise LookupError(f"`{name}` is not measured yet") from None
    if table == "machine":
        return float(figures["machine"][row])
    for each in figures["tables"]:
        if each["title"] == table:
            for line in each["rows"]:
                if line["name"] == row:
                    return float(line["median"])
    raise LookupError(f"`{name}` does not have it yet")


def _lowest_price(page: Path, row: str) -> float:
    """The last column of a row of a page's table."""
    for line in page.read_text().splitlines() if page.exists() else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == row:
            return float(cells[-1])
    raise LookupError(f"`{page.name}` does not have it yet")
