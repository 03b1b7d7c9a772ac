"""`make scaling`: what so many machines do with so many buyers, written to docs/scaling.md: `python -m bench.model`.

With BUYERS= it simulates one crowd at one shop, prints what comes of it, and writes nothing.

What a request costs is from docs/benchmarks (`bench/calibration.py`), what a crowd does with it from
`bench/simulation.py`, what is asked for the page from `bench/findings.py`, and the page from `bench/scaling.py`.
"""

import argparse
import sys

from bench.calibration import calibrate
from bench.findings import BENCHMARKS, CORES, UNITS, WINDOW_SECONDS, find
from bench.scaling import write
from bench.shop import Crowd, machines
from bench.simulation import Simulation
from bench.surroundings import ROOT
from ops.errors import OpsError


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.model", description="Simulate other sizes than the measured."
    )
    parser.add_argument("--buyers", type=_at_least_one, help="one crowd of so many, on the terminal, and no page")
    parser.add_argument("--units", type=_at_least_one, default=UNITS, help="of each sale")
    parser.add_argument("--machines", type=_at_least_one, default=1)
    parser.add_argument("--cores", type=_at_least_one, default=CORES, help="of each machine")
    parser.add_argument("--window", type=float, default=WINDOW_SECONDS, help="seconds in which all of them come")
    parser.add_argument("--sales", type=_at_least_one, default=1)
    parser.add_argument("--shards", type=_at_least_one, default=1, help="of a Redis Cluster")
    given = parser.parse_args()
    if given.buyers:
        return _print(given)
    for path in write(find()):
        print(f"written: {path.relative_to(ROOT)}")
    return None


def _print(given: argparse.Namespace) -> None:
    costs, figures = calibrate(BENCHMARKS)
    shop = machines(given.machines, given.cores, sales=given.sales, shards=given.shards)
    crowd = Crowd(given.buyers, given.units, window_seconds=given.window, sales=given.sales)
    told = Simulation(shop, costs, crowd).run()
    print(f"{shop.name}, {shop.web_processes} web processes; {crowd.buyers:,} buyers within {crowd.window_seconds:g} s")
    print(f"  last unit sold       {told.last_sold:,.2f} s")
    print(f"  last buyer knows     {told.last_told:,.2f} s")
    print(f"  last socket heard    {told.last_heard:,.2f} s")
    print(f"  accepted             {told.admitted:,}, {told.admitted_per_second:,.0f} a second while any were")
    print(f"  waits                p50 {told.wait_ms(0.5):,.0f} ms, p99 {told.wait_ms(0.99):,.0f} ms")
    print(f"  most at the door     {told.door_max:,}")
    print(f"  most in line         {told.line_max:,}, {told.line_max * costs.line_bytes / 2**20:,.1f} MiB")
    print(f"  outcomes             {', '.join(f'{count:,} {name}' for name, count in told.counts.items())}")
    print(f"  busy                 {', '.join(f'{name} {share:.0%}' for name, share in told.busy.items() if share)}")
    print(f"  what is full         {told.bottleneck}")
    print(f"  assumed              {', '.join(each.name for each in figures if each.missing) or 'no cost'}")


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than one")
    return number


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
