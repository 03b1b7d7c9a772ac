"""What a test's own thread asks PostgreSQL; others of its process, such as the reader of the news, ask as well."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from models.database import engine


@contextmanager
def statements(about: str = "") -> Iterator[list[str]]:
    """The statements of this thread meanwhile that have these words, in order."""
    asked: list[str] = []
    here = threading.get_ident()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if about in statement and threading.get_ident() == here:
            asked.append(statement)

    event.listen(engine(), "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine(), "before_cursor_execute", note)
