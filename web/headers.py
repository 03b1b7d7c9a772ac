"""Headers of every answer: what browsers may do with it, and from which other origins."""

from flask import Flask, request
from flask.wrappers import Response

from models.settings import settings
from web.pages.live import live_origin

DOCS_PREFIX = "/api/docs"

# An answer of the API is data: nothing in it runs, loads or is framed.
CSP_DATA = "default-src 'none'; frame-ancestors 'none'"
# Pages of ours: everything from this origin, but for the socket and the pictures of products.
CSP_PAGE = (
    "default-src 'self'; connect-src 'self' {live}; img-src 'self' https: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Swagger and ReDoc come from wheels with scripts and styles inside the page.
CSP_DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# A page of ours needs none of what a browser could give it.
PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in ("camera", "geolocation", "microphone", "payment", "usb", "browsing-topics", "display-capture")
)
# What every answer says.
POLICIES = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # No other origin loads it as a script, a picture or a frame; who may read the API's data is CORS's to say.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": CSP_DATA,
    # Tokens and stock have no business in a cache, and a page says who is logged in.
    "Cache-Control": "no-store",
}
# Whoever came by TLS once does not come without it for a year. It is said over TLS alone (RFC 6797, section 7.2).
HSTS = "max-age=31536000"

CORS_MAX_AGE_SECONDS = 600
CORS_METHODS = "GET, POST, PUT, PATCH, DELETE"
CORS_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Prefer, X-Request-Id"
# What a script of another origin may read of an answer, beside the few that every script may.
CORS_RESPONSE_HEADERS = (
    "Link, Location, Preference-Applied, RateLimit, RateLimit-Limit, RateLimit-Policy, RateLimit-Remaining, "
    "RateLimit-Reset, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id"
)


def init_headers(app: Flask) -> None:
    app.after_request(_secure)
    app.after_request(_allow_origin)


def _secure(response: Response) -> Response:
    """Everything has its policy; a view that knows better says so itself."""
    for name, value in _policies(response).items():
        response.headers.setdefault(name, value)
    return response


def _policies(response: Response) -> dict[str, str]:
    policies = dict(POLICIES)
    if request.is_secure:
        policies["Strict-Transport-Security"] = HSTS
    if response.mimetype == "text/html":
        policies["Content-Security-Policy"] = CSP_PAGE.format(live=live_origin())
        # A page that opens one of ours, or is opened by it, gets no hold of its window.
        policies["Cross-Origin-Opener-Policy"] = "same-origin"
        policies["Permissions-Policy"] = PERMISSIONS
    if request.path.startswith(DOCS_PREFIX):
        policies["Content-Security-Policy"] = CSP_DOCS
        # The pages of the documentation may be kept, as before; their files are large.
        del policies["Cache-Control"]
    return policies


def _allow_origin(response: Response) -> Response:
    """CORS for the origins that the settings name, without credentials: tokens travel in a header."""
    allowed = settings().cors_origins
    if not allowed:
        return response
    response.vary.add("Origin")
    if granted := grant(request.headers.get("Origin")):
        headers = response.headers
        headers.update(granted)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            headers["Access-Control-Allow-Methods"] = CORS_METHODS
            headers["Access-Control-Allow-Headers"] = CORS_REQUEST_HEADERS
            headers["Access-Control-Max-Age"] = str(CORS_MAX_AGE_SECONDS)
    return response


def grant(origin: str | None) -> dict[str, str]:
    """What lets a script of this origin read an answer; nothing where the settings do not name it."""
    if origin is None or origin not in settings().cors_origins:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": CORS_RESPONSE_HEADERS}
