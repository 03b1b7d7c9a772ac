"""What one process can do, from the figures that `make bench` wrote; where there are none, a default that says so.

The figures are of the machine that measured them, which each of them names: `make bench ONLY=accept,fanout` makes
them those of this one.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[2] / "docs/benchmarks"
# A bench that was cut short, or a file of another hand, is no figure.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and where it comes from, as operators read it."""

    value: float
    origin: str


ANSWERS_PER_WEB_PROCESS = Figure(350, "a default, measured by nobody here")
SOCKETS_PER_LIVE_PROCESS = Figure(2_000, "a default, measured by nobody here")


def answers_per_web_process(folder: Path = BENCHMARKS) -> Figure:
    """Requests for units that one of several web processes takes in a second, all of them accepted."""
    accepted = [
        (int(found[1]), float(row["median"]) / int(found[1]))
        for row in _rows(folder / "accept.json", "requests a second")
        if (found := re.fullmatch(r"POST .*/purchases, (\d+) process(?:es)?", row["name"]))
    ]
    # With as many processes as were tried: those on one machine slow each other down.
    rate = max(accepted)[1] if accepted else 0
    return Figure(rate, _origin(folder / "accept.json")) if rate >= 1 else ANSWERS_PER_WEB_PROCESS


def sockets_per_live_process(folder: Path = BENCHMARKS) -> Figure:
    """Sockets of one of several live processes that were seen to hear of a change, nearly all of them."""
    file = folder / "fanout.json"
    heard = [
        int(found[1].replace(",", ""))
        for row in _rows(file, "milliseconds")
        if (found := re.fullmatch(r"([\d,]+) sockets: 99 %", row["name"]))
    ]
    processes = _live_processes(file)
    return Figure(max(heard) // processes, _origin(file)) if heard and processes else SOCKETS_PER_LIVE_PROCESS


def _live_processes(file: Path) -> int:
    """How many had the sockets between them, as the benchmark's notes say; 0 where they do not."""
    try:
        notes = " ".join(json.loads(file.read_text())["notes"])
    except UNREADABLE:
        return 0
    found = re.search(r"live: [^;]*?, ([1-9]\d?) process", notes)
    return int(found[1]) if found else 0


def _rows(file: Path, unit: str) -> Iterator[dict[str, Any]]:
    try:
        tables = json.loads(file.read_text())["tables"]
        yield from [row for table in tables if table["unit"] == unit for row in table["rows"] if float(row["median"])]
    except UNREADABLE:
        return


def _origin(file: Path) -> str:
    try:
        told = json.loads(file.read_text())
        return f"measured {told['at'][:10]} on {told['machine']['cores']} cores of {told['machine']['cpu']}"
    except UNREADABLE:
        return f"measured, says {file.name}"
