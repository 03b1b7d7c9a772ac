"""Where a browser may be sent: to our own pages, and nowhere else."""

from urllib.parse import quote, urlsplit

from flask import request

HOME = "/"
LENGTH_MAX = 500
# Pages that one comes from, and does not return to.
PASSING = ("/login", "/signup", "/session/")


def own_path(wanted: str | None) -> str:
    """`wanted` if it is a path of this origin, with its query; otherwise the home page.

    Browsers take `//host` and `/\\host` for other hosts, and drop tabs and line ends before they look.
    """
    path = wanted or HOME
    if len(path) > LENGTH_MAX or not path.startswith("/") or path.startswith(PASSING):
        return HOME
    if path[1:2] in ("/", "\\") or "\\" in path or not path.isprintable():
        return HOME
    try:
        parts = urlsplit(path)
    except ValueError:
        return HOME
    return HOME if parts.scheme or parts.netloc else path


def with_next(path: str, place: str) -> str:
    """`path`, and from there back to `place`."""
    return path if place == HOME else f"{path}?next={quote(place, safe='/')}"


def here() -> str:
    """The path of this request with its query, as a place to come back to."""
    return own_path(request.full_path if request.query_string else request.path)
