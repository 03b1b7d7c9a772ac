"""`make fuzz`: the long course of noise at a house of its own. Ends with 0 if nothing was wrong, with 1 if something
was, with 2 if it was called wrongly."""

import random
import sys
import time
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ops.arguments import Parser, positive
from ops.errors import OpsError
from tests.hostile import report
from tests.hostile.course import run_course
from tests.hostile.house import house_of_its_own
from tests.hostile.oracle import Noted

CASES_DEFAULT = 20_000
SHOWN_MAX = 10


def main() -> int:
    parser = Parser(prog="make fuzz", description="Bad input at volume, at a stack of its own.")
    parser.add_argument("--cases", type=positive, default=CASES_DEFAULT, metavar="CASES")
    parser.add_argument("--seed", type=positive, default=random.randrange(1, 10**6), metavar="SEED")
    parser.add_argument("--dry", action="store_true", help="write no report")
    given = parser.parse_args()
    console = Console()
    again = f"make fuzz CASES={given.cases} SEED={given.seed}"
    console.print(f"{given.cases:,} cases; the same again: {again}")
    began = time.monotonic()
    noted = Noted()
    try:
        with house_of_its_own() as house, _bar(console) as bar:
            task = bar.add_task("noise", total=given.cases)
            run_course(house, given.cases, given.seed, noted, partial(bar.advance, task))
            run = report.Run(given.seed, time.monotonic() - began, noted, house.watch.growth(), house.bought)
            logs = {name: house.shop.log(name) for name in house.shop.names}
    except OpsError as why:
        Console(stderr=True).print(f"doorbuster: {why}", markup=False, highlight=False)
        return 1
    _show(console, run)
    if not given.dry:
        report.write(run)
    if noted.complaints:
        for name, log in logs.items():
            console.print(f"[bold]{name}[/]", log[-2_000:], markup=False, highlight=False)
    return 1 if noted.complaints else 0


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


def _show(console: Console, run: report.Run) -> None:
    table = Table("kind", "cases", "wrong")
    for kind, count in run.noted.cases.items():
        table.add_row(kind, f"{count:,}", str(sum(each.startswith(f"{kind}: ") for each in run.noted.complaints)))
    table.add_row("all", f"{run.noted.total:,}", str(len(run.noted.complaints)))
    console.print(table)
    for complaint in run.noted.complaints[:SHOWN_MAX]:
        console.print(complaint, markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
