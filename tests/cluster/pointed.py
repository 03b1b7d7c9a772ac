"""This test process, and what it starts, with other settings for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from models import database
from models.once import once
from models.settings import settings


@contextmanager
def pointed_at(**environment: str) -> Iterator[None]:
    """Other settings, by their environment names, and engines of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings.cache_clear()
        made = once(database.engine.__wrapped__)
        patch.setattr(database, "engine", made)
        try:
            yield
        finally:
            made().dispose()
    settings.cache_clear()
