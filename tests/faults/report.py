"""The table at the end of the long run: on the terminal, as JSON, and as a section of docs/reliability.md."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from bench.surroundings import ROOT, surroundings
from tests.faults.course import Result
from tests.faults.kinds import FAULTS

DOCS = ROOT / "docs"
PAGE = DOCS / "reliability.md"
DATA = DOCS / "reliability" / "faults.json"
BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"
NEW_PAGE = "# Reliability\n\nWhat was tried, and what came of it; written by the tools that tried it.\n"
COLUMNS = (
    ("seeds", "seeds"),
    ("requests", "requests"),
    ("accepted", "accepted"),
    ("lost", "lost"),
    ("doubled", "doubled"),
    ("wrongUnits", "wrong units"),
    ("outOfOrder", "out of order"),
    ("broken", "other 5xx, or 401"),
    ("forgotten", "forgotten, as allowed"),
    ("restartSecondsMax", "longest restart, s"),
    ("drainSecondsMax", "longest drain, s"),
    ("failed", "seeds that failed"),
)


@dataclass(slots=True)
class Tally:
    """All seeds of one kind of fault."""

    results: list[Result] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        verdicts = [result.verdict for result in self.results]
        return {
            "seeds": len(self.results),
            "requests": sum(result.requests for result in self.results),
            "accepted": sum(verdict.accepted for verdict in verdicts),
            "lost": sum(verdict.lost for verdict in verdicts),
            "doubled": sum(verdict.doubled for verdict in verdicts),
            "wrongUnits": sum(verdict.wrong_units for verdict in verdicts),
            "outOfOrder": sum(verdict.out_of_order for verdict in verdicts),
            "broken": sum(verdict.broken for verdict in verdicts),
            "forgotten": sum(verdict.forgotten for verdict in verdicts),
            "restartSecondsMax": max((result.restart_seconds for result in self.results), default=0.0),
            "drainSecondsMax": max((result.drain_seconds for result in self.results), default=0.0),
            "failed": sum(not result.is_right for result in self.results),
        }


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """The table as it goes to JSON: a row for each kind of fault (a seed counts under its first) and one for all."""
    rows = []
    for name, kind in FAULTS.items():
        mine = [result for result in results if result.faults[0] == name]
        if mine:
            rows.append({"fault": name, "about": kind.about, **Tally(mine).as_dict()})
    return {
        "rows": rows,
        "all": Tally(list(results)).as_dict(),
        "withASecondFault": sum(len(result.faults) > 1 for result in results),
        "failures": [
            {"seed": result.seed, "faults": result.faults, "complaints": result.verdict.complaints[:10]}
            for result in results
            if not result.is_right
        ],
        "notes": sorted({note for result in results for note in result.notes if "disk" in note}),
        "python": platform.python_version(),
        **surroundings(),
    }


def show(found: dict[str, Any], console: Console) -> None:
    table = Table(title="Faults", title_justify="left")
    table.add_column("fault", no_wrap=True)
    for _, heading in COLUMNS:
        table.add_column(heading, justify="right")
    for row in found["rows"]:
        table.add_row(row["fault"], *_cells(row))
    table.add_section()
    table.add_row("all", *_cells(found["all"]))
    console.print(table)


def write(found: dict[str, Any], page: Path = PAGE, data: Path = DATA) -> None:
    """Write the JSON, and the section between our markers; what others wrote around it stays."""
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    text = page.read_text() if page.exists() else NEW_PAGE
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{section(found)}{END}{after}")


def section(found: dict[str, Any]) -> str:
    everything = found["all"]
    headings = " | ".join(heading for _, heading in COLUMNS)
    changes = " with uncommitted changes" if found["uncommittedChanges"] else ""
    seeds = everything["seeds"]
    lines = [
        "## Faults",
        "",
        f"A real stack (PostgreSQL, Redis, two web, two live, two workers, chores, beat) in {seeds} seeded rushes",
        f"over HTTP, each with a fault in its middle, {found['withASecondFault']} with a second one. After each the",
        "oracle asks: has every accepted request exactly one outcome, over HTTP and in PostgreSQL; are units and",
        "tickets right; does the audit agree; was the line empty 15 s after the killed ran again, which the supervisor",
        "sees to and nobody helps? Written by",
        f"`make faults SEEDS={seeds}`; one seed is run again with `make faults SEED=17`.",
        "",
        f"| fault | what | {headings} |",
        f"| --- | --- |{' ---: |' * len(COLUMNS)}",
        *(f"| {row['fault']} | {row['about']} | {' | '.join(_cells(row))} |" for row in found["rows"]),
        f"| **all** | | {' | '.join(_cells(everything))} |",
        "",
        "*Forgotten, as allowed*: requests that Redis admitted after the copy that it was restored from, and that",
        "nobody had settled yet ([what is not promised](architecture.md#what-is-not-promised)): counted by themselves.",
        "",
        *(f"The disk: {note}.\n" for note in found["notes"]),
        f"Run {found['at']} at commit {found['commit'] or 'unknown'}{changes}, Python {found['python']}, on",
        f"{found['machine']['cores']} cores; load {found['machine']['load']} in the last minute.",
        "",
    ]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    return [str(row[name]) for name, _ in COLUMNS]
