"""The report: the proof of a rush, for people on the console and for machines in a file."""

from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from ops.errors import OpsError
from ops.rush.verdict import Verdict

WAIT_NAMES = {
    "pressedTo202": "button pressed → 202, in line",
    "sentTo202": "request sent → 202, in line",
    "pressedToRefusal": "button pressed → refusal",
    "sentToRefusal": "request sent → refusal",
    "pressedToOutcome": "button pressed → outcome",
    "sentToOutcome": "request sent → outcome",
}


def tell(verdict: Verdict, console: Console) -> None:
    """Print the figures and, last, the verdict."""
    figures = verdict.figures
    console.print()
    _tell_counts(figures, console)
    _tell_waits(figures["waitsMs"], console)
    for sale in figures["sales"]:
        _tell_sale(sale, console)
    console.print()
    if verdict.is_right:
        console.print("RIGHT: every unit and every accepted request is accounted for", style="bold green")
    for fault in verdict.faults:
        console.print(f"WRONG: {fault}", style="bold red", soft_wrap=True)


def write_json(file: Path, verdict: Verdict) -> None:
    """Write the figures and the faults; raises OpsError."""
    told = {"right": verdict.is_right, "faults": verdict.faults, **verdict.figures}
    try:
        file.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as why:
        raise OpsError(f"cannot write {file} ({why.strerror})") from why


def _tell_counts(figures: dict[str, Any], console: Console) -> None:
    refused: dict[str, int] = {}
    rejected: dict[str, int] = {}
    for sale in figures["sales"]:
        for total, part in ((refused, sale["refusedByCode"]), (rejected, sale["rejectedByReason"])):
            for code, times in part.items():
                total[code] = total.get(code, 0) + times
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left")
    table.add_row("buyers", f"{figures['buyers']:,}", f"over {figures['connections']} connections")
    table.add_row("refused", f"{figures['refused']:,}", _listed(refused))
    table.add_row("accepted", f"{figures['accepted']:,}", "")
    table.add_row("  confirmed", f"{figures['confirmed']:,}", "")
    table.add_row("  rejected", f"{sum(rejected.values()):,}", _listed(rejected))
    table.add_row("asked again", f"{sum(figures['askedAgainAfter'].values()):,}", _listed(figures["askedAgainAfter"]))
    rate = f"in {figures['seconds']:.2f} s: {figures['requestsPerSecond']:,.0f} a second"
    table.add_row("requests", f"{figures['requests']:,}", rate)
    table.add_row("", "", f"the crowd itself took {figures['crowdProcessorSeconds']:.1f} s of processor time")
    console.print(table)


def _tell_waits(waits: dict[str, dict[str, float] | None], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("milliseconds")
    for name in ("p50", "p95", "p99", "max"):
        table.add_column(name, justify="right")
    for key, name in WAIT_NAMES.items():
        measured = waits[key]
        if measured is not None:
            table.add_row(name, *(f"{measured[column]:,.0f}" for column in ("p50", "p95", "p99", "max")))
    console.print()
    console.print(table)
    console.print()


def _tell_sale(sale: dict[str, Any], console: Console) -> None:
    sold = "?" if sale["sold"] is None else f"{sale['sold']:,}"
    audit = {True: "the audit agrees", False: "THE AUDIT DISAGREES", None: "no audit"}[sale["auditAgrees"]]
    others = f", {sale['soldToOthers']:,} of them to others" if sale["soldToOthers"] else ""
    line = (
        f"Sale {sale['saleId']}: {sold} of {sale['totalStock']:,} units sold{others}; "
        f"the buyers count {sale['confirmedUnits']:,}; {audit}"
    )
    console.print(line, soft_wrap=True)
    if sale["firstUnitSeconds"] is not None:
        first, last = sale["firstUnitSeconds"], sale["lastUnitSeconds"]
        console.print(f"  first unit {first:.3f} s after the opening, last unit {last:.3f} s")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{code} {times:,}" for code, times in sorted(counts.items(), key=lambda pair: -pair[1]))
