"""Arrays as PostgreSQL reads them: one text, to be cast where it is used.

psycopg looks at every element of a list to find its type; for the columns of a thousand rows that took longer than
deciding them (docs/decisions/0029-beside-postgresql.md). Here no step is taken for an element either, unless it needs
one.
"""

from collections.abc import Iterable

import orjson

NULL = "NULL"


def array_of(values: Iterable[int | None]) -> str:
    """Whole numbers of up to 64 bits."""
    # JSON's way to write them, `null` too, but for the brackets.
    return "{" + orjson.dumps(list(values))[1:-1].decode() + "}"


def text_array_of(values: Iterable[str | None]) -> str:
    """Texts of any characters but NUL, which PostgreSQL cannot hold."""
    elements = list(values)
    if elements and None not in elements:
        joined = '","'.join(elements)  # type: ignore[arg-type]
        if "\\" not in joined and joined.count('"') == 2 * len(elements) - 2:
            return '{"' + joined + '"}'
    return "{" + ",".join([NULL if value is None else _quoted(value) for value in elements]) + "}"


def _quoted(value: str) -> str:
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
