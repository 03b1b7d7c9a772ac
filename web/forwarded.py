"""Over what a request came, where TLS ends at a proxy in front of us.

X-Forwarded-Proto is believed of our own proxies alone (TRUSTED_PROXIES), as X-Forwarded-For is (web/limits.py): anybody
else may write it. RFC 7239's `Forwarded` is read by nobody here; one way to say it is enough.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from models.addresses import one_form
from models.settings import settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SCHEMES = frozenset({"http", "https"})
THROUGH_PROXY = "doorbuster.through_proxy"


def init_forwarded(app: Flask) -> None:
    """Before Flask looks at a request, so that `request.scheme` and whatever is made of it are right everywhere."""
    app.wsgi_app = _believing(app.wsgi_app)  # type: ignore[assignment,method-assign]


def came_through_proxy() -> bool:
    """Whether a proxy of ours said over what the request came: then its host and port are that proxy's."""
    return bool(request.environ.get(THROUGH_PROXY))


def _believing(inner: "WSGIApplication") -> "WSGIApplication":
    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        believe_proxy(environ)
        return inner(environ, start_response)

    return application


def believe_proxy(environ: "WSGIEnvironment") -> None:
    """Put into the environment over what the request came, if a proxy of ours says so."""
    scheme = _forwarded_scheme(environ)
    if scheme:
        environ["wsgi.url_scheme"] = scheme
        environ[THROUGH_PROXY] = True


def _forwarded_scheme(environ: dict[str, Any]) -> str | None:
    said = environ.get("HTTP_X_FORWARDED_PROTO")
    peer = one_form(environ.get("REMOTE_ADDR") or "") if said else None
    if not said or peer is None or not settings().is_trusted_proxy(peer):
        return None
    # The last is what the nearest proxy wrote; what stands further left anybody can claim.
    scheme = said.rpartition(",")[2].strip().lower()
    return scheme if scheme in SCHEMES else None
