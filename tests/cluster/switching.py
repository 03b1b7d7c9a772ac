"""Points this process at another Redis and back: what is made once for a process is made anew."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from models import announce, first_page, revocations
from models.gateline import gate_lines
from models.redisclient import gate_client, redis_client
from models.settings import settings

SCRIPTS = (announce._script, first_page._script, first_page._read_kept, revocations._spend)


@contextmanager
def settings_of(**variables: str) -> Iterator[None]:
    """The settings of this process and of those that it starts, with new clients, until the block ends."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    _make_anew()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        _make_anew()


def _make_anew() -> None:
    settings.cache_clear()
    for one in (gate_lines, gate_client, redis_client):
        for made in _made(one):
            made.close()
        _made(one).clear()
    for script in SCRIPTS:
        script.cache_clear()


def _made(one: Callable[[], Any]) -> list[Any]:
    """Where models.once keeps what it made."""
    places = dict(zip(one.__code__.co_freevars, one.__closure__ or (), strict=True))
    made: list[Any] = places["made"].cell_contents
    return made
