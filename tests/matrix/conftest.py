"""The matrix's application over its shop; see world.py."""

import pytest

from models.passwords import hash_password
from models.settings import settings
from tests.matrix.requests import PASSWORD
from tests.matrix.world import World
from web import synchronous
from web.app import create_app
from web.limits import limiter


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture(scope="session")
def only_world(servers, password_hash) -> World:
    return World(password_hash)


@pytest.fixture
def world(app, only_world) -> World:
    """The shop as it was made, whatever the test before has done."""
    if not only_world.is_as_made():
        only_world.make_anew()
    return only_world


@pytest.fixture(scope="session")
def shared_app(servers):
    """One application for the whole table: it keeps nothing of a request."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RATE_LIMIT_EXEMPT", "0.0.0.0/0, ::/0")
        settings.cache_clear()
        app = create_app()
    settings.cache_clear()
    return app


@pytest.fixture
def app(shared_app, monkeypatch):
    # It is asked whether it is let in, not how often.
    monkeypatch.setenv("RATE_LIMIT_EXEMPT", "0.0.0.0/0, ::/0")
    # Nobody settles here; whoever waits gives up soon.
    monkeypatch.setattr(synchronous, "WAIT_SECONDS", 0.05)
    settings.cache_clear()
    limiter._storage_dead = False
    yield shared_app
    monkeypatch.undo()
    settings.cache_clear()
