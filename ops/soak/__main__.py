"""`python -m ops.soak`, which is `make soak`. Ends with 1 if something grew, a book disagrees, or there was trouble."""

import argparse
import sys
from pathlib import Path

from ops.arguments import Parser
from ops.errors import OpsError
from ops.soak.course import soak
from ops.soak.report import write
from ops.soak.verdict import judge

MINUTES_DEFAULT = 30.0
MINUTES_MAX = 7 * 24 * 60
# A request in so many thousand may meet a machine that does something else for a while.
TROUBLE_SHARE_MAX = 0.001
ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = Parser(prog="make soak", description="Steady load on a stack of its own: does anything grow?")
    parser.add_argument("--minutes", type=_minutes, default=MINUTES_DEFAULT, metavar="MINUTES")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="OUT", help="the folder of reliability.md")
    parser.add_argument(
        "--watch", type=_watched, action="append", default=[], metavar="NAME=PID", help="another process to watch too"
    )
    options = parser.parse_args()
    soaked = soak(options.minutes * 60, also=dict(options.watch), say=lambda line: print(line, flush=True))
    try:
        lines = judge(soaked.samples)
    except ValueError as why:
        raise OpsError(str(why)) from why
    write(soaked, lines, options.out)
    wrong = [f"{line.who}: {line.what} grew by {line.growth:,.1f} {line.unit}" for line in lines if line.grows]
    wrong += [f"the books of sale {sale_id} do not agree" for sale_id in soaked.disagreements]
    if soaked.troubles.total() > soaked.done["requests"] * TROUBLE_SHARE_MAX:
        wrong += [f"{count} times {name}" for name, count in soaked.troubles.items()]
    for line in wrong:
        print(line)
    print(f"{options.out / 'reliability.md'} has the figures: {'not flat' if wrong else 'everything is flat'}")
    return 1 if wrong else 0


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= MINUTES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes up to {MINUTES_MAX}")
    return minutes


def _watched(text: str) -> tuple[str, int]:
    name, _, pid = text.partition("=")
    if not name or not pid.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PID")
    return name, int(pid)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
