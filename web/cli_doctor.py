"""`flask doctor`: the check before the sale, for people and for pipelines."""

import json
import sys

import click

from models.doctor import Severity, examine

HEALTHY, WARNED, CRITICAL = 0, 1, 2


@click.command("doctor")
@click.option("--sale", "sale_id", type=click.IntRange(min=1), help="The sale that the crowd comes for.")
@click.option("--crowd", type=click.IntRange(min=1), help="Buyers expected in the first seconds.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(sale_id: int | None, crowd: int | None, *, as_json: bool) -> None:
    """Examine the stack that the settings name. Exits 0 if it is healthy, 1 with warnings, 2 if a sale is in danger."""
    if sale_id is not None and crowd is None:
        raise click.UsageError("--sale says whom the crowd comes for: say with --crowd how many")
    found = examine(sale_id=sale_id, crowd=crowd)
    worst = max((CRITICAL if each.severity is Severity.CRITICAL else WARNED for each in found), default=HEALTHY)
    if as_json:
        click.echo(json.dumps({"status": worst, "findings": [each.as_dict() for each in found]}, indent=2))
    else:
        for each in found:
            click.echo(f"{each.severity.upper():8} {each.code}: {each.what}")
            click.echo(f"         cure: {each.cure}")
        click.echo(f"{len(found)} findings" if found else "healthy: nothing found")
    sys.exit(worst)
