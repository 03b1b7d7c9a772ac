"""`make faults`: the long run of the fault rig, or one seed of it again.

Seeds share a stack for as long as it is well; after a seed that failed the next one gets a new stack, and the logs of
the old one are kept. Exit status 1 if a seed failed.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.settings import Settings
from ops.arguments import Parser, positive
from ops.errors import OpsError
from tests.faults.course import Result, plan_of, run_seed
from tests.faults.kinds import FAULTS
from tests.faults.oracle import Verdict
from tests.faults.plan import Plan
from tests.faults.report import figures, show, write
from tests.faults.stack import Stack, fault_stack

SEEDS_DEFAULT = 40
INTERRUPTED = 130
COMPLAINTS_SHOWN_MAX = 5


class Runner:
    """Runs seeds one after the other, on a stack that is made anew when it is needed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._exit = ExitStack()
        self._stack: Stack | None = None

    def run(self, plans: Sequence[Plan]) -> Iterator[Result]:
        """The results, each as it comes."""
        with self._exit:
            for plan in plans:
                result = self._run(plan)
                if not result.is_right:
                    self._tell(result)
                    self._renew(plan.seed)
                yield result

    def _run(self, plan: Plan) -> Result:
        try:
            if self._stack is None:
                self._stack = self._exit.enter_context(fault_stack())
            return run_seed(self._stack, plan)
        except (OpsError, psycopg.Error, redis.RedisError, OSError) as why:
            verdict = Verdict(complaints=[f"{type(why).__name__}: {why}"])
            return Result(plan.seed, tuple(name for name, _ in plan.faults), verdict, len(plan.asks))

    def _tell(self, result: Result) -> None:
        self._console.print(f"[red]seed {result.seed} failed[/] ({' and '.join(result.faults)}):", highlight=False)
        for complaint in result.verdict.complaints[:COMPLAINTS_SHOWN_MAX]:
            self._console.print(f"  {complaint}", highlight=False, markup=False)
        self._console.print(f"  again: make faults SEED={result.seed}", highlight=False)

    def _renew(self, seed: int) -> None:
        """Keep the logs of a stack on which a seed failed, and end it."""
        if self._stack is not None:
            kept = Path(tempfile.gettempdir()) / f"doorbuster-faults-seed-{seed}"
            shutil.copytree(self._stack.logs, kept, dirs_exist_ok=True)
            for server in (self._stack.postgres, self._stack.redis):
                shutil.copy(server.log, kept / server.log.name)
            self._console.print(f"  its logs: {kept}", highlight=False)
        self._stack = None
        self._exit.close()


def main() -> int:
    parser = Parser(prog="make faults", description="Break the stack in every way we know, and count what is lost.")
    parser.add_argument("--seeds", type=positive, default=SEEDS_DEFAULT, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="one seed again, and nothing is written")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="this fault alone, and nothing is written")
    given = parser.parse_args()
    Settings.model_config["env_file"] = None
    os.environ["JWT_SECRET_KEY"] = secrets.token_urlsafe(48)
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    console = Console()
    results = _run_all([plan_of(seed, given.fault) for seed in seeds], console)
    if not results:
        return INTERRUPTED
    found = figures(results)
    show(found, console)
    if given.seed is None and given.fault is None:
        write(found)
    return int(not all(result.is_right for result in results))


def _run_all(plans: Sequence[Plan], console: Console) -> list[Result]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    results: list[Result] = []
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("faults", total=len(plans))
        # Who stops the run early has the table of what was done.
        with suppress(KeyboardInterrupt):
            for result in Runner(console).run(plans):
                results.append(result)
                failed = sum(not each.is_right for each in results)
                progress.update(task, advance=1, description=f"faults, {failed} failed" if failed else "faults")
                if not console.is_terminal:
                    console.print(
                        f"seed {result.seed}: {' and '.join(result.faults)}: drained in {result.drain_seconds} s"
                    )
    return results


if __name__ == "__main__":
    sys.exit(main())
