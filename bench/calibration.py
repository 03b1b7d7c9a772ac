"""What one request costs each part of the shop, from the figures in `docs/benchmarks`.

What is not measured there yet is taken from `ASSUMED`, and says so; once the benchmark has written the figure, that one
is used and the assumption is not.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ops.errors import OpsError

# A row's median, from a benchmark's file; raises LookupError where there is no such row.
Row = Callable[[str, str, str], float]

PROCESSES = 2
OF_PROCESSES = {1: "1 process", 2: "2 processes"}
# The table that `bench.replicas` writes into `docs/promises.md`.
PRICE = "one Redis"
BARE, SHOP = "bare Flask POST", "POST …/purchases"


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds of one core a request, unless a line says otherwise."""

    web_accept_ms: float
    web_refuse_ms: float
    gate_accept_ms: float
    gate_refuse_ms: float
    fsync_ms: float  # of Redis's thread, once for all that it takes in one go; no CPU
    generator_ms: float  # of the load generator, where it shares the cores
    settle_worker_ms: float
    settle_postgres_ms: float
    settle_redis_ms: float
    settle_batch_ms: float  # from the wake-up to the commit, beside the requests; no CPU
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
    "web_refuse_ms": "web's CPU for a refusal after the sell-out, ms",
    "gate_accept_ms": "Redis's CPU for a request that is let in, ms",
    "gate_refuse_ms": "Redis's CPU for a refusal after the sell-out, ms",
    "fsync_ms": "Redis's wait for its disk, once for all that it takes in one go, ms",
    "generator_ms": "the load generator's CPU a request, where it shares the cores, ms",
    "settle_worker_ms": "the worker's CPU for a request that is settled, ms",
    "settle_postgres_ms": "PostgreSQL's CPU for a request that is settled, ms",
    "settle_redis_ms": "Redis's CPU for a request that is settled, ms",
    "settle_batch_ms": "a batch: from the wake-up to the commit, beside its requests, ms",
    "frame_ms": "live's CPU for one update to one socket, ms",
    "line_bytes": "Redis's memory for a waiting request, bytes",
}

# What stands in for a figure that no benchmark has written yet, and why this number.
ASSUMED: dict[str, tuple[float, str]] = {
    "fsync_ms": (1.0, "a guess: a disk of flash memory"),
    "settle_worker_ms": (0.048, "[decision 17](decisions/0017-settling-without-copies.md)"),
    "settle_postgres_ms": (0.0333, "[decision 20](decisions/0020-outcomes-in-one-message.md)"),
    "settle_redis_ms": (0.02, "a guess: a twelfth of what the gate costs"),
    "settle_batch_ms": (15.0, "a guess: what one buyer alone was seen to wait"),
    "frame_ms": (0.025, "a guess: two thousand sockets hear in about fifty milliseconds"),
    "line_bytes": (600.0, "what the [runbook](runbook.md) counts with"),
}


def calibrate(folder: Path, *, processes: int = PROCESSES) -> tuple[Costs, list[Figure]]:
    """The costs with so many web processes, and where each is from; raises OpsError without `accept.json`."""
    row = partial(median_of, folder)
    try:
        found = _of_accepting(row, processes)
    except LookupError as why:
        raise OpsError(f"accepting must be measured first, by `make bench ONLY=accept`: {why}") from why
    for name, (read, source) in _of_the_rest(row, found).items():
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
    # Bare Flask on two processes fills both cores: what web leaves of them is the generator's.
    rate = row("accept", "2 processes, 64 connections", f"{BARE}, 2 processes")
    web_ms = row("accept", "2 processes: CPU a request", f"web: {BARE}, 2 processes")
    cores = row("accept", "machine", "cores")
    made["generator_ms"] = Figure(
        "generator_ms",
        max(0.0, cores * 1000 / rate - web_ms),
        ABOUT["generator_ms"],
        "[accept](benchmarks/accept.md): what bare Flask on 2 processes leaves of the cores",
    )
    return made


def _of_the_rest(row: Row, found: dict[str, Figure]) -> dict[str, tuple[Callable[[], float], str]]:
    """For each figure how to read it, and from which page it is then."""

    def settled(name: str) -> Callable[[], float]:
        return lambda: row("settle", "CPU a request", name) / 1000

    def refused(part: str) -> Callable[[], float]:
        # Web and Redis together, by the rate of refusals on full cores; shared out as an accepted request is.
        def read() -> float:
            rate = row("latency", "answers to a POST on web, 64 connections", "refused after the sell-out")
            both = row("latency", "machine", "cores") * 1000 / rate - found["generator_ms"].value
            accepted = found["web_accept_ms"].value + found["gate_accept_ms"].value
            return both * found[f"{part}_accept_ms"].value / accepted

        return read

    def batch() -> float:
        alone = row("light_load", "", "POST with Prefer: wait, on live") - row("light_load", "", BARE)
        return alone - found["gate_accept_ms"].value - found["fsync_ms"].value

    return {
        "web_refuse_ms": (refused("web"), "[latency](benchmarks/latency.md): the rate of refusals on full cores"),
        "gate_refuse_ms": (refused("gate"), "[latency](benchmarks/latency.md): the rate of refusals on full cores"),
        "fsync_ms": (
            lambda: row("promises", PRICE, "`appendfsync always`") - row("promises", PRICE, "`appendfsync everysec`"),
            "[promises](promises.md#what-it-costs), lowest rounds: `always` less `everysec`",
        ),
        "settle_worker_ms": (settled("worker"), "[settle](benchmarks/settle.md)"),
        "settle_postgres_ms": (settled("PostgreSQL, settling"), "[settle](benchmarks/settle.md)"),
        "settle_redis_ms": (settled("Redis"), "[settle](benchmarks/settle.md)"),
        "settle_batch_ms": (batch, "[light_load](benchmarks/light_load.md): one buyer alone, less the way in"),
        "frame_ms": (
            lambda: row("fanout", "live's CPU an update a socket", "5,000 sockets") / 1000,
            "[fanout](benchmarks/fanout.md)",
        ),
        "line_bytes": (
            lambda: row("growth", "memory of a waiting request", "a waiting request"),
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
    # A refusal does no more than an admission, and writes nothing to the disk.
    return found[name.replace("refuse", "accept")].value, "as much as a request that is let in: no more than that"


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
