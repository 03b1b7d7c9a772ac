"""Who may call a view, as a mark right above the function:

    @public            anybody
    @login_required    whoever has an access token
    @checked_at_gate   the same, where the gate itself asks whether it was given back
    @checked_by_look   the same, where the look at a purchase asks it
    @admin_required    an admin

A route under /api without a mark is refused when the application is made, and the OpenAPI document is written from the
same marks (web/openapi.py).
"""

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from flask import current_app

View = TypeVar("View", bound=Callable[..., Any])


class Access(Enum):
    """Who may call a route."""

    PUBLIC = "public"
    USER = "user"
    ADMIN = "admin"


def public(view: View) -> View:
    return _mark(view, Access.PUBLIC)


def login_required(view: View) -> View:
    return _mark(view, Access.USER)


def admin_required(view: View) -> View:
    return _mark(view, Access.ADMIN)


def checked_at_gate(view: View) -> View:
    """For whoever has an access token, on a route that does nothing but ask the gate (web/guard.py, `pass_gate`).

    The gate itself asks whether the token was given back and counts the request, so nothing asks before it: three trips
    to Redis less. What such a view does before the gate must be worth no secret and cost no more than reading a body.
    """
    view.is_checked_at_gate = True  # type: ignore[attr-defined]
    return login_required(view)


def checked_by_look(view: View) -> View:
    """For whoever has an access token, on a route that does nothing but show a purchase (web/looks.py, `look_at`)."""
    view.is_checked_by_look = True  # type: ignore[attr-defined]
    return login_required(view)


def asks_gate(endpoint: str) -> bool:
    """Whether the gate checks who asks on this endpoint of the current application."""
    return getattr(current_app.view_functions.get(endpoint), "is_checked_at_gate", False)


def is_look(endpoint: str) -> bool:
    """Whether this endpoint of the current application is a look at a purchase, which checks who asks."""
    return getattr(current_app.view_functions.get(endpoint), "is_checked_by_look", False)


def _mark(view: View, access: Access) -> View:
    # A mark on the function itself, which functools.wraps carries through every other decorator.
    view.access = access  # type: ignore[attr-defined]
    return view


def access_of(endpoint: str) -> Access | None:
    """The mark of an endpoint of the current application, or None."""
    return getattr(current_app.view_functions.get(endpoint), "access", None)
