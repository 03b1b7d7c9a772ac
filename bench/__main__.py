"""`make bench` for all of them, `make bench ONLY=light_load` for some (comma or blank between): `python -m bench`."""

import argparse
import sys

from rich.console import Console

from bench import fanout, leaderboard, light_load
from bench.report import show, summary, write
from bench.surroundings import surroundings
from ops.errors import OpsError

BENCHMARKS = {
    benchmark.name: benchmark for benchmark in (light_load.BENCHMARK, leaderboard.BENCHMARK, fanout.BENCHMARK)
}
ROUNDS_DEFAULT = 7
ROUNDS_MIN = 5


def main() -> None:
    listed = "; ".join(f"{benchmark.name}: {benchmark.about}" for benchmark in BENCHMARKS.values())
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure. " + listed)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them unless named")
    parser.add_argument("--rounds", type=int, default=ROUNDS_DEFAULT, help=f"at least {ROUNDS_MIN}")
    given = parser.parse_args()
    names = [name for word in given.names for name in word.split(",") if name] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    if given.rounds < ROUNDS_MIN:
        parser.error(f"a median of fewer than {ROUNDS_MIN} rounds says nothing")
    console = Console(highlight=False)
    for name in names:
        where = surroundings()
        figures = summary(BENCHMARKS[name], BENCHMARKS[name].run(given.rounds), where)
        show(figures, console)
        for path in write(figures):
            console.print(f"written: docs/benchmarks/{path.name}")


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
