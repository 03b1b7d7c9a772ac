"""`make rush`: see the package. Ends with 0 if all is right, 1 if a unit or an outcome is wrong or no rush was to be
had, 2 if it was called wrongly."""

import argparse
import sys
from pathlib import Path

from ops.arguments import Parser, positive
from ops.buyers import COUNT_MAX
from ops.errors import OpsError
from ops.rush.course import (
    BUYERS_DEFAULT,
    CONNECTIONS_DEFAULT,
    PATIENCE_SECONDS_DEFAULT,
    UNITS_DEFAULT,
    Options,
    run,
)
from ops.rush.report import write_json

SALES_MAX = 100
CONNECTIONS_MAX = 2_000
INTERRUPTED = 130


def sale_ids(text: str) -> tuple[int, ...]:
    """`7` or `7,8`, as argparse reads it."""
    ids = tuple(positive(part.strip()) for part in text.split(","))
    if len(set(ids)) < len(ids):
        raise argparse.ArgumentTypeError("a sale is named twice")
    return ids


def parse() -> argparse.Namespace:
    parser = Parser(prog="make rush", description="Let a crowd loose on the running demo.")
    parser.add_argument("--buyers", type=positive, default=BUYERS_DEFAULT, metavar="BUYERS")
    parser.add_argument("--units", type=positive, default=UNITS_DEFAULT, metavar="UNITS", help="of each fresh sale")
    parser.add_argument("--quantity", type=positive, default=1, metavar="QUANTITY", help="units that each buyer wants")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sale", type=sale_ids, default=(), metavar="SALE", help="id, or ids with commas")
    which.add_argument("--sales", type=positive, default=1, metavar="SALES", help="how many fresh sales")
    parser.add_argument("--connections", type=positive, default=CONNECTIONS_DEFAULT, help="requests at once")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS_DEFAULT, help="seconds for one answer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    for name, most in (("buyers", COUNT_MAX), ("sales", SALES_MAX), ("connections", CONNECTIONS_MAX)):
        if getattr(given, name) > most:
            parser.error(f"argument --{name}: at most {most}")
    return given


def main() -> int:
    given = parse()
    verdict = run(
        Options(
            buyers=given.buyers,
            units=given.units,
            quantity=given.quantity,
            sale_ids=given.sale,
            sales=given.sales,
            connections=given.connections,
            patience_seconds=given.patience,
        )
    )
    if given.json is not None:
        write_json(given.json, verdict)
    return verdict.exit_status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
