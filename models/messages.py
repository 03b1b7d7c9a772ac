"""Statements that go to PostgreSQL in one message, with their values inside.

Until the whole of a message is there the session is idle in its transaction, which PostgreSQL bounds; statements in one
message have one answer to wait for, and what commits them follows at once: a COMMIT of its own would have to wait for
the interpreter, which is busy with the batch before (docs/decisions/0029-beside-postgresql.md, 0036-said-once.md).
"""

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from sqlalchemy.orm import Session

# A statement as psycopg reads it, with %(names)s, and their values.
Statement = tuple[str, Mapping[str, Any]]


def driver_of(session: Session) -> psycopg.Connection[Any]:
    """The connection of a session's transaction, past SQLAlchemy, whose work on a statement takes longer than to send
    it. What goes wrong there is told in psycopg's errors."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)  # noqa: S101 - a session in a transaction has one
    return connection


def commit_together(session: Session, statements: list[Statement], meanwhile: Callable[[], None]) -> None:
    """Execute statements that return no rows, in order, and commit the session's transaction, which ends here.

    Where one of them fails, PostgreSQL leaves out what follows, the COMMIT too. `meanwhile` is called when nothing is
    left to do but to send them. Raises what psycopg raises.
    """
    # What the session itself has to write belongs before the COMMIT.
    session.flush()
    connection = driver_of(session)
    with psycopg.ClientCursor(connection) as cursor:
        message = ";".join([*(cursor.mogrify(text, values) for text, values in statements), "COMMIT"])
        meanwhile()
        cursor.execute(message.encode(connection.info.encoding))
