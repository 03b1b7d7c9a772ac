"""A result on the terminal, as JSON, and as a page of Markdown."""

import statistics
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from bench.result import Benchmark, Result
from bench.surroundings import ROOT

FOLDER = ROOT / "docs" / "benchmarks"
COLUMNS = ("", "median", "lowest round", "highest round", "against the baseline")


def summary(benchmark: Benchmark, result: Result, where: dict[str, Any]) -> dict[str, Any]:
    """The figures as they go to JSON: for each row its rounds, their median, and its ratio to the baseline's.

    `where` are the surroundings as they were before the start.
    """
    baseline = statistics.median(result.rows[0].rounds)
    rows = [
        {
            "name": row.name,
            "median": round(statistics.median(row.rounds), 3),
            "min": round(min(row.rounds), 3),
            "max": round(max(row.rounds), 3),
            "ratio": round(statistics.median(row.rounds) / baseline, 2),
            "rounds": [round(value, 3) for value in row.rounds],
        }
        for row in result.rows
    ]
    return {
        "name": benchmark.name,
        "title": result.title,
        "unit": result.unit,
        "rows": rows,
        "notes": list(result.notes),
        **where,
        "versions": where["versions"] | result.servers,
    }


def show(figures: dict[str, Any], console: Console) -> None:
    table = Table(title=f"{figures['title']} ({figures['unit']})", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    for cells in _cells(figures):
        table.add_row(*cells)
    console.print(table)


def write(figures: dict[str, Any], folder: Path = FOLDER) -> list[Path]:
    """Write both files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / f"{figures['name']}.json", folder / f"{figures['name']}.md"
    data.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    page.write_text(markdown(figures))
    return [data, page]


def markdown(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    changes = " with uncommitted changes" if figures["uncommittedChanges"] else ""
    rounds = len(figures["rows"][0]["rounds"])
    where = (
        f"Measured {figures['at']} at commit {figures['commit'] or 'unknown'}{changes}, on {machine['cores']} cores of "
        f"{machine['cpu']} with {machine['memoryGiB']} GiB, {machine['system']}, load {machine['load']} before the "
        f"start; {versions}."
    )
    lines = [
        f"# {figures['title']}",
        "",
        f"In {figures['unit']}; the median of {rounds} rounds. Written by `make bench ONLY={figures['name']}`.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(f"| {' | '.join(cells)} |" for cells in _cells(figures)),
        "",
        *(f"- {note}" for note in figures["notes"]),
        "",
        where,
        "",
    ]
    return "\n".join(lines)


def _cells(figures: dict[str, Any]) -> list[list[str]]:
    return [
        [row["name"], f"{row['median']:.2f}", f"{row['min']:.2f}", f"{row['max']:.2f}", f"{row['ratio']:.2f} x"]
        for row in figures["rows"]
    ]
