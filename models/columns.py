"""Rows on their way to PostgreSQL, a column each: what differs from row to row as an array, and what is the same in all
of them once.

An array is read, held and handed on element by element; of the columns of a purchase most say the same of a whole batch
(docs/decisions/0036-said-once.md has the figures).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models.arrays import array_of, text_array_of


class Column(NamedTuple):
    """One value for each row, in their order."""

    # PostgreSQL's.
    type: str
    # All values as the text of an array, or the one that they all are.
    value: str | int | None
    varies: bool


def keys(values: Sequence[int]) -> Column:
    """Whole numbers that tell the rows apart: an array even where there is one row, for it counts them."""
    return Column("bigint", array_of(values), varies=True)


def numbers(values: Sequence[int | None]) -> Column:
    """Whole numbers, one at least."""
    if _are_the_same(values):
        return Column("bigint", values[0], varies=False)
    return Column("bigint", array_of(values), varies=True)


def texts(values: Sequence[str | None]) -> Column:
    """Texts that PostgreSQL can hold (models/arrays.py), one at least."""
    if _are_the_same(values):
        return Column("text", None if values[0] is None else str(values[0]), varies=False)
    return Column("text", text_array_of(values), varies=True)


def rows_of(columns: Mapping[str, Column]) -> tuple[str, dict[str, Any]]:
    """What stands behind FROM for rows of these columns, of which one is `keys`, and the values that it names."""
    varied = [(name, column.type) for name, column in columns.items() if column.varies]
    same = [(name, column.type) for name, column in columns.items() if not column.varies]
    arrays = ", ".join([f"%({name})s::{type_}[]" for name, type_ in varied])
    rows = f"unnest({arrays}) AS varied ({', '.join([name for name, _ in varied])})"
    if same:
        # With CAST: `::` binds more tightly than the sign of the smallest number.
        rows += f", (SELECT {', '.join([f'CAST(%({name})s AS {type_}) AS {name}' for name, type_ in same])}) AS same"
    return rows, {name: column.value for name, column in columns.items()}


def _are_the_same(values: Sequence[Any]) -> bool:
    return values.count(values[0]) == len(values)
