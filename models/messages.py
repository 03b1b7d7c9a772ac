"""Statements that go to PostgreSQL in one message, with their values inside.

Until the whole of a message is there the session is idle in its transaction, which PostgreSQL bounds; statements in one
message have one answer to wait for. docs/decisions/0029-beside-postgresql.md has the figures.
"""

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from sqlalchemy.orm import Session

# A statement as psycopg reads it, with %(names)s, and their values.
Statement = tuple[str, Mapping[str, Any]]


def send_together(session: Session, statements: list[Statement], meanwhile: Callable[[], None]) -> None:
    """Execute statements that return no rows, in order, in the session's transaction.

    `meanwhile` is called when nothing is left to do but to send them. Raises what psycopg raises.
    """
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)  # noqa: S101 - a session in a transaction has one
    with psycopg.ClientCursor(connection) as cursor:
        message = ";".join([cursor.mogrify(text, values) for text, values in statements])
        meanwhile()
        cursor.execute(message.encode(connection.info.encoding))
