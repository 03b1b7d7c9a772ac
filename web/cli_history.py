"""`flask history`: months of purchases and movements, archived into files and brought back."""

from datetime import datetime
from pathlib import Path

import click
from flask.cli import AppGroup

from models.errors import DomainError
from models.history import RangeSummary, archive, ranges, restore

history = AppGroup("history", help="Purchases and stock movements by the range of their sales: list, archive, restore.")

FIRST = click.argument("first_sale", type=click.IntRange(min=0))
COLUMNS = ("range", "made", "sales", "purchases", "MB", "last end", "state")
ROW = "{:<16}  {:<17}  {:>6}  {:>10}  {:>8}  {:<10}  {}"


@history.command("list")
def list_ranges() -> None:
    """List the ranges of sales: when their sales were made, how much they hold, and what was archived."""
    click.echo(ROW.format(*COLUMNS))
    for each in ranges():
        made = " to ".join(dict.fromkeys((_month(each.oldest_made_at), _month(each.newest_made_at))))
        click.echo(
            ROW.format(
                f"{each.first_sale_id}-{each.end_sale_id - 1}",
                made,
                each.sales,
                each.purchases,
                f"{each.bytes / 1_000_000:.1f}",
                each.newest_end.date().isoformat() if each.newest_end else "-",
                _state(each),
            )
        )


@history.command("archive")
@FIRST
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where its folder goes.")
@click.option("--keep", is_flag=True, help="Leave the tables in the database, beside the ones that sell.")
def archive_range(first_sale: int, out: Path, *, keep: bool) -> None:
    """Archive the range that begins with FIRST_SALE: its sales are over, and their audits agree. May be run again."""
    try:
        which = archive(first_sale, out, keep=keep)
    except (DomainError, OSError) as error:
        raise click.ClickException(_words(error)) from None
    left = "kept beside the others" if keep else "dropped"
    click.echo(f"sales {which.first_sale_id} to {which.end_sale_id - 1}: written, read back, tables {left}")


@history.command("restore")
@FIRST
@click.option("--from", "directory", type=click.Path(file_okay=False, path_type=Path), help="What --out was.")
def restore_range(first_sale: int, directory: Path | None) -> None:
    """Bring back the range that begins with FIRST_SALE. May be run again."""
    try:
        which = restore(first_sale, directory)
    except (DomainError, OSError) as error:
        raise click.ClickException(_words(error)) from None
    click.echo(f"sales {which.first_sale_id} to {which.end_sale_id - 1}: their history is back")


def _month(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m") if moment else "-"


def _state(each: RangeSummary) -> str:
    if each.archived_at is None:
        return "here"
    state = "archived" if each.is_written else "archiving was begun"
    return f"{state}, tables still here" if each.bytes else state


def _words(error: DomainError | OSError) -> str:
    return f"{error.message} ({error.code})" if isinstance(error, DomainError) else str(error)
