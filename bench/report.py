"""A result on the terminal, as JSON, as a page of Markdown with a picture, and as a line of the index."""

import statistics
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from bench.pictures import draw
from bench.result import Benchmark, Result, Row
from bench.surroundings import ROOT

FOLDER = ROOT / "docs" / "benchmarks"
INDEX = "README.md"
COLUMNS = ("", "median", "lowest round", "highest round", "against the baseline")
TARGET_COLUMNS = ("target", "wanted", "measured", "")
# Below this many of its unit a figure needs more than two digits after the point.
SMALL = 0.1


def summary(benchmark: Benchmark, result: Result, where: dict[str, Any]) -> dict[str, Any]:
    """The figures as they go to JSON: for each row its rounds, their median, and its ratio to the baseline's.

    `where` are the surroundings as they were before the start.
    """
    return {
        "name": benchmark.name,
        "title": result.title,
        "about": benchmark.about,
        "tables": [
            {"title": table.title, "unit": table.unit, "rows": _rows(list(table.rows))} for table in result.tables
        ],
        "targets": [
            {"text": target.text, "wanted": target.wanted, "measured": round(target.measured, 3), "met": target.met}
            for target in result.targets
        ],
        "notes": list(result.notes),
        **where,
        "versions": where["versions"] | result.servers,
    }


def _rows(rows: list[Row]) -> list[dict[str, Any]]:
    baseline = rows[0].median
    return [
        {
            "name": row.name,
            "median": round(row.median, 4),
            "min": round(min(row.rounds), 4),
            "max": round(max(row.rounds), 4),
            "ratio": round(row.median / baseline, 3) if baseline else 0.0,
            "rounds": [round(value, 4) for value in row.rounds],
        }
        for row in rows
    ]


def show(figures: dict[str, Any], console: Console) -> None:
    """Print the tables, the targets and the notes."""
    for table in figures["tables"]:
        shown = Table(title=f"{_title(figures, table)} ({table['unit']})", title_justify="left")
        for column in COLUMNS:
            shown.add_column(column, justify="right" if column else "left", no_wrap=not column)
        for cells in _cells(table):
            shown.add_row(*cells)
        console.print(shown)
    for target in figures["targets"]:
        console.print(" · ".join(_target_cells(target)))
    for note in figures["notes"]:
        console.print(f"- {note}", style="dim")


def write(figures: dict[str, Any], folder: Path = FOLDER) -> list[Path]:
    """Write data, page and picture, and the index anew; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    name = figures["name"]
    data, page, picture = (folder / f"{name}{suffix}" for suffix in (".json", ".md", ".png"))
    data.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    page.write_text(markdown(figures))
    draw(figures, picture)
    return [data, page, picture, write_index(folder)]


def write_index(folder: Path = FOLDER) -> Path:
    """Every benchmark of the folder by what it was to reach and what it reached."""
    found = [orjson.loads(file.read_bytes()) for file in sorted(folder.glob("*.json"))]
    met = sum(target["met"] for figures in found for target in figures["targets"])
    wanted = sum(len(figures["targets"]) for figures in found)
    lines = [
        "# Benchmarks",
        "",
        "Each measures Doorbuster beside what one would build instead, in one run and in turns; every ratio is one of",
        "medians. `make bench` runs them all, `make bench ONLY=accept` one; a page says how, on which machine and at",
        f"which commit. Of {wanted} targets that were set before anything was built, {met} are met.",
        "",
        f"| benchmark | {' | '.join(TARGET_COLUMNS)} |",
        "| --- | --- | --- | ---: | --- |",
    ]
    for figures in found:
        link = f"[{figures['name']}]({figures['name']}.md)"
        lines += [f"| {link} | {' | '.join(_target_cells(target))} |" for target in figures["targets"]]
        if not figures["targets"]:
            lines.append(f"| {link} | {figures['about']} | | | |")
    index = folder / INDEX
    index.write_text("\n".join([*lines, ""]))
    return index


def markdown(figures: dict[str, Any]) -> str:
    """The page of a benchmark."""
    rounds = statistics.median(len(row["rounds"]) for table in figures["tables"] for row in table["rows"])
    lines = [
        f"# {figures['title']}",
        "",
        f"Medians of {rounds:g} rounds, each row beside the first of its table; [all benchmarks](README.md).",
        f"Written by `make bench ONLY={figures['name']}`.",
        "",
    ]
    if figures["targets"]:
        lines += [f"| {' | '.join(TARGET_COLUMNS)} |", "| --- | --- | ---: | --- |"]
        lines += [f"| {' | '.join(_target_cells(target))} |" for target in figures["targets"]]
        lines += [""]
    lines += [f"![{figures['title']}]({figures['name']}.png)", ""]
    for table in figures["tables"]:
        lines += [f"**{_title(figures, table)}**, {table['unit']}", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "| --- | ---: | ---: | ---: | ---: |"]
        lines += [*(f"| {' | '.join(cells)} |" for cells in _cells(table)), ""]
    return "\n".join([*lines, *(f"- {note}" for note in figures["notes"]), "", _where(figures), ""])


def _where(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    changes = " with uncommitted changes" if figures["uncommittedChanges"] else ""
    return (
        f"Measured {figures['at']} at commit {figures['commit'] or 'unknown'}{changes}, on {machine['cores']} cores of "
        f"{machine['cpu']} with {machine['memoryGiB']} GiB, {machine['system']}, load {machine['load']} before the "
        f"start; {versions}."
    )


def _title(figures: dict[str, Any], table: dict[str, Any]) -> str:
    return table["title"] or figures["title"]


def _cells(table: dict[str, Any]) -> list[list[str]]:
    return [
        [row["name"], *(_number(row[name]) for name in ("median", "min", "max")), f"{row['ratio']:.2f} x"]
        for row in table["rows"]
    ]


def _target_cells(target: dict[str, Any]) -> list[str]:
    return [target["text"], target["wanted"], _number(target["measured"]), "met" if target["met"] else "**missed**"]


def _number(value: float) -> str:
    return f"{value:,.4f}" if 0 < abs(value) < SMALL else f"{value:,.2f}"
