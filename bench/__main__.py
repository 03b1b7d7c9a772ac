"""`make bench` for all of them, `make bench ONLY=accept,settle` for some: `python -m bench`."""

import argparse
import os
import subprocess
import sys
from importlib import import_module

from rich.console import Console

from bench.report import show, summary, write
from bench.result import Benchmark
from bench.sizes import QUICK_MARK
from bench.surroundings import surroundings
from ops.errors import OpsError

# Each is a module with a BENCHMARK in it, in the order in which they are run.
NAMES = (
    "accept",
    "settle",
    "answered",
    "burst",
    "whole",
    "latency",
    "reads",
    "growth",
    "light_load",
    "leaderboard",
    "fanout",
)
ROUNDS_DEFAULT = 5
ROUNDS_MIN = 5
ROUNDS_QUICK = 1
# Of what is printed into a file or a pipe.
WIDTH = 140


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure. " + ", ".join(NAMES))
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them unless named")
    parser.add_argument("--rounds", type=int, default=ROUNDS_DEFAULT, help=f"at least {ROUNDS_MIN}")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it works: prints, and writes nothing")
    given = parser.parse_args()
    names = [name for word in given.names for name in word.split(",") if name] or list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    if given.rounds < ROUNDS_MIN:
        parser.error(f"a median of fewer than {ROUNDS_MIN} rounds says nothing")
    if given.quick:
        os.environ[QUICK_MARK] = "1"
    if len(names) == 1:
        _run(names[0], given.rounds, quick=given.quick)
    else:
        _run_each_alone(names, sys.argv[1:])


def _run(name: str, rounds: int, *, quick: bool) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    benchmark: Benchmark = import_module(f"bench.{name}").BENCHMARK
    console.print(f"{name}: {benchmark.about} (about {benchmark.minutes:g} minutes)")
    where = surroundings()
    figures = summary(benchmark, benchmark.run(ROUNDS_QUICK if quick else rounds), where)
    show(figures, console)
    if quick:
        console.print("quick: these figures say nothing, and are not written")
        return
    for path in write(figures):
        console.print(f"written: docs/benchmarks/{path.name}")


def _run_each_alone(names: list[str], arguments: list[str]) -> None:
    """Each in a process of its own, with nothing of the one before it; one that fails does not stop the others."""
    options = [word for word in arguments if word.startswith("--") or word.isdigit()]
    failed = [
        name
        for name in names
        if subprocess.run([sys.executable, "-m", "bench", name, *options], check=False).returncode
    ]
    if failed:
        raise OpsError(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
