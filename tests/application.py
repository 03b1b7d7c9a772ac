"""The application of this test process, made once for all that is set: making one takes longer than most tests do."""

import os
from functools import lru_cache

from flask_openapi.openapi import OpenAPI

from models.settings import Settings
from web.app import create_app
from web.fresh import answers
from web.limits import limiter
from web.waiting import waiters

SETS_MAX = 16


def application() -> OpenAPI:
    """The application as the settings have it now, and nothing in it of the test before."""
    limiter._storage_dead = False
    # What was kept for a crowd is of a sale that may have the same id.
    answers().forget()
    # And so are the outcomes that were heard of.
    waiters().missed()
    return _made(tuple(os.environ.get(name.upper()) for name in Settings.model_fields))


@lru_cache(maxsize=SETS_MAX)
def _made(_settings: tuple[str | None, ...]) -> OpenAPI:
    app = create_app()
    # An answer that is not as the document says it is, is an error.
    app.validate_response = True
    return app
