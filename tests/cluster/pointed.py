"""This test process, and what it starts, with other settings for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from models import database, replica
from models.once import once
from models.settings import settings


@contextmanager
def pointed_at(**environment: str) -> Iterator[None]:
    """Other settings, by their environment names, and engines of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings.cache_clear()
        made, standby = once(database.engine.__wrapped__), once(replica.replica.__wrapped__)
        patch.setattr(database, "engine", made)
        patch.setattr(replica, "replica", standby)
        try:
            yield
        finally:
            if (found := standby()) is not None:
                # A look that is under way holds connections, and no other begins.
                found._looking.acquire()
                found.engine.dispose()
            made().dispose()
    settings.cache_clear()
