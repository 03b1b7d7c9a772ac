"""What a test's own thread, and those of a front, ask PostgreSQL; others of its process, such as the news' reader, ask
as well."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from models.database import engine

# How web/front.py names its threads.
FRONT = ("request", "trip")


@contextmanager
def statements(about: str = "") -> Iterator[list[str]]:
    """The statements of this thread meanwhile that have these words, in order."""
    asked: list[str] = []
    here = threading.get_ident()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        thread = threading.current_thread()
        if about in statement and (thread.ident == here or thread.name.startswith(FRONT)):
            asked.append(statement)

    event.listen(engine(), "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine(), "before_cursor_execute", note)
