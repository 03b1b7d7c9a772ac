"""Flower is never open to everybody in production: it shows all that runs, and stops it at a click."""

import os
from collections.abc import Sequence

from models.settings import settings


def lock_flower(arguments: Sequence[str]) -> None:
    """Called as the application is loaded, with the command's arguments; does nothing for any other command.

    Flower reads its password from the environment alone, so one that stands in `.env` is handed to it there. Raises
    SystemExit in production without a password.
    """
    if "flower" not in arguments:
        return
    known = settings()
    if known.environment == "production" and not known.flower_basic_auth:
        raise SystemExit("doorbuster: FLOWER_BASIC_AUTH must be set in production, as user:password")
    if known.flower_basic_auth:
        os.environ.setdefault("FLOWER_BASIC_AUTH", known.flower_basic_auth)
