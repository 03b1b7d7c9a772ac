"""What a soak leaves behind: a table between its markers in docs/reliability.md, a picture, and the raw figures."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from matplotlib.figure import Figure

from models.clock import now, to_iso
from ops.soak.course import Soaked
from ops.soak.probe import CONNECTIONS, FILES, KEPT, MEMORY, THREADS, UNITS
from ops.soak.verdict import (
    BYTES_FOR_A_REQUEST_MAX,
    FLOORS,
    POSTGRES_MEMORY_FLOOR,
    REQUESTS_MIN,
    STEADY_TAU,
    WARM_UP_SHARE,
    Line,
)

BEGIN, END = "<!-- soak:begin -->", "<!-- soak:end -->"
PAGE = "reliability.md"
PICTURE, FIGURES = "soak.png", "soak.json"
NEW_PAGE = "# Reliability\n\nWhat was tried, and what came of it; written by the tools that tried it.\n"
PANELS = {MEMORY: "memory, MiB", FILES: "open files", THREADS: "threads", CONNECTIONS: "connections", KEPT: "kept, MiB"}
WIDTH_INCHES, PANEL_INCHES, DOTS_PER_INCH = 9.0, 2.2, 100


def write(soaked: Soaked, lines: list[Line], docs: Path) -> None:
    """Write all three below `docs`, the folder that has (or gets) the page."""
    folder = docs / "reliability"
    folder.mkdir(parents=True, exist_ok=True)
    _draw(soaked, folder / PICTURE)
    (folder / FIGURES).write_bytes(orjson.dumps(_figures(soaked, lines), option=orjson.OPT_INDENT_2) + b"\n")
    page = docs / PAGE
    before = page.read_text() if page.exists() else NEW_PAGE
    page.write_text(renewed(before, section(soaked, lines)))


def renewed(page: str, section: str) -> str:
    """The page with this section between the markers; at its end, if it has none yet."""
    told = f"{BEGIN}\n{section}{END}"
    if BEGIN not in page:
        return f"{page.rstrip()}\n\n{told}\n"
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{told}{tail}"


def section(soaked: Soaked, lines: list[Line]) -> str:
    growing = [line for line in lines if line.grows]
    settled = soaked.samples.settled[-1] - soaked.samples.settled[0]
    verdict = "nothing grew" if not growing else f"{len(growing)} of {len(lines)} grew"
    rows = "\n".join(_row(line) for line in lines)
    troubles = ", ".join(f"{name} {count}" for name, count in soaked.troubles.most_common()) or "none"
    books = "every book agrees" if not soaked.disagreements else f"books of {soaked.disagreements} disagree"
    floors = ", ".join(f"{floor:.0f} {UNITS[what]}" for what, floor in FLOORS.items())
    kept = " and ".join(f"{most:,} in {who}" for who, most in BYTES_FOR_A_REQUEST_MAX.items())
    return f"""
## Soak: {soaked.seconds / 60:.1f} minutes under steady load

**{verdict}; {books}.** {settled:,} requests settled, {_listed(soaked.done)}. Troubles: {troubles}.

![Every measure over the run](reliability/{PICTURE})

| who | what | median | growth after the warm-up | tau | |
| --- | --- | ---: | ---: | ---: | --- |
{rows}

- Growth: Theil and Sen's slope over the run without its first {WARM_UP_SHARE:.0%}, times that time. *Grows*: by
  more than a tenth of the median and a floor ({floors}), and steadily (Kendall's tau from {STEADY_TAU} on).
- Memory is what a process and its children have resident, without files and shared segments. What a purchase leaves in
  PostgreSQL and Redis stays, so there the bytes that one settled request leaves are bounded: {kept}, from
  {REQUESTS_MIN:,} requests on.
- A session of PostgreSQL keeps what it has touched: its files are shown and not judged, and the floor of its memory
  is {POSTGRES_MEMORY_FLOOR:.0f} MiB for all sessions together.
- Written by `make soak` on {to_iso(now())[:10]}, {os.cpu_count()} cores.

"""


def _row(line: Line) -> str:
    growth = f"{line.growth:,.0f} bytes a request" if line.per_request else f"{line.growth:+,.1f} {line.unit}"
    tau = "" if line.per_request else f"{line.tau:+.2f}"
    verdict = "**grows**" if line.grows else "flat"
    return f"| {line.who} | {line.what} | {line.median:,.1f} | {growth} | {tau} | {verdict} |"


def _listed(done: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in done.most_common())


def _figures(soaked: Soaked, lines: list[Line]) -> dict[str, Any]:
    return {
        "measured": to_iso(now()),
        "seconds": round(soaked.seconds, 1),
        "done": dict(soaked.done),
        "troubles": dict(soaked.troubles),
        "disagreements": list(soaked.disagreements),
        "lines": [
            {"who": line.who, "what": line.what, "median": line.median, "growth": line.growth, "tau": line.tau,
             "grows": line.grows}
            for line in lines
        ],
        "atSeconds": [round(at, 1) for at in soaked.samples.at_seconds],
        "settled": soaked.samples.settled,
        "values": {f"{who} {what}": values for (who, what), values in soaked.samples.values.items()},
    }  # fmt: skip


def _draw(soaked: Soaked, file: Path) -> None:
    """One panel a measure, one line a process, minutes along the bottom."""
    picture = Figure(figsize=(WIDTH_INCHES, PANEL_INCHES * len(PANELS)), dpi=DOTS_PER_INCH, layout="constrained")
    minutes = [at / 60 for at in soaked.samples.at_seconds]
    for axes, (what, title) in zip(picture.subplots(len(PANELS), 1, sharex=True), PANELS.items(), strict=True):
        for (who, measured), values in sorted(soaked.samples.values.items()):
            if measured == what:
                axes.plot(minutes, values, label=who, linewidth=1)
        axes.axvline(minutes[int(len(minutes) * WARM_UP_SHARE)], color="#9aa5b1", linewidth=0.8, linestyle="--")
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("minutes", fontsize=8)
    picture.savefig(file, metadata={"Software": None})
