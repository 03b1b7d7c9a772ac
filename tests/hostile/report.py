"""What a long run came to: JSON beside the document, and a table in it between two marks."""

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.hostile.oracle import Growth, Noted

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
FIGURES = ROOT / "docs" / "reliability" / "fuzz.json"
BEGIN, END = "<!-- fuzz:begin -->", "<!-- fuzz:end -->"
COMPLAINTS_SHOWN_MAX = 20
WRONG_IS = (
    "Wrong is a 5xx that is no 503 with `Retry-After`, but for the HTTP servers' own 501 and 505 to bytes that",
    "never become a request (RFC 9110, sections 15.6.2 and 15.6.6); an error of `/api` that is not in the envelope;",
    "a traceback, a path or a library's name in a body; no answer; a process that died, or grew by more than a",
    "quarter and 64 MiB; an audit that disagrees; a line that stands still, a sale that sells no more, a sound",
    "buyer without a unit. What is sent and who looks at the answers is in `tests/hostile/`; a short course of the",
    "same runs with the tests.",
)


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run."""

    seed: int
    seconds: float
    noted: Noted
    growth: list[Growth]
    bought: int


def write(run: Run) -> None:
    """Write both, in place of what the last run wrote."""
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(_figures(run), indent=2, ensure_ascii=False) + "\n")
    text = DOCUMENT.read_text() if DOCUMENT.exists() else "# Reliability\n"
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{section(run)}{END}{after}")


def _figures(run: Run) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seed": run.seed,
        "seconds": round(run.seconds),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "cases": run.noted.cases,
        "total": run.noted.total,
        "answers": dict(sorted(run.noted.statuses.items())),
        "soundPurchases": run.bought,
        "memoryMiB": {each.name: [each.before >> 20, each.after >> 20] for each in run.growth},
        "complaints": run.noted.complaints,
    }


def section(run: Run) -> str:
    """The part of the document, from its heading on."""
    noted = run.noted
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB"
    kinds = [
        f"| {kind} | {count:,} | {sum(each.startswith(f'{kind}: ') for each in noted.complaints)} |"
        for kind, count in noted.cases.items()
    ]
    others = sum(each.startswith("the house: ") for each in noted.complaints)
    answers = ", ".join(
        f"{status} {count:,} times" for status, count in sorted(noted.statuses.items()) if status.isdigit()
    )
    lines = [
        "## Bad input at volume",
        "",
        f"`make fuzz`, seed {run.seed}: {noted.total:,} cases in {run.seconds / 60:.0f} minutes at real processes",
        f"({machine}, which others used too).",
        "",
        "| kind | cases | wrong |",
        "| --- | ---: | ---: |",
        *kinds,
        f"| the house at the end | 1 | {others} |",
        "",
        f"Answered was {answers}; the others were hung up on, or were no questions.",
        f"A sound buyer bought {run.bought} units in between, one after the other.",
        "",
        "| process | MiB after the warm-up | MiB at the end |",
        "| --- | ---: | ---: |",
        *(f"| {each.name} | {each.before >> 20} | {each.after >> 20} |" for each in run.growth),
        "",
        *WRONG_IS,
    ]
    if noted.complaints:
        lines += ["", "Complaints of this run:", ""]
        lines += ["- `" + each[:300].replace("`", "'") + "`" for each in noted.complaints[:COMPLAINTS_SHOWN_MAX]]
    return "\n".join([*lines, ""])
