"""Arrays as PostgreSQL reads them: one text, to be cast where it is used.

psycopg looks at every element of a list to find its type; for the columns of a thousand rows that took longer than
deciding them (docs/decisions/0029-beside-postgresql.md).
"""

from collections.abc import Iterable

NULL = "NULL"


def array_of(values: Iterable[int | None]) -> str:
    """Whole numbers."""
    return "{" + ",".join([NULL if value is None else str(value) for value in values]) + "}"


def text_array_of(values: Iterable[str | None]) -> str:
    """Texts of any characters but NUL, which PostgreSQL cannot hold."""
    return "{" + ",".join([NULL if value is None else _quoted(value) for value in values]) + "}"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
