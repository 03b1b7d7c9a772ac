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
    "img-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
)

CORS_MAX_AGE_SECONDS = 600
CORS_METHODS = "GET, POST, PUT, PATCH, DELETE"
CORS_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Prefer, X-Request-Id"
CORS_RESPONSE_HEADERS = "Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"


def init_headers(app: Flask) -> None:
    app.after_request(_secure)
    app.after_request(_allow_origin)


def _secure(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    if request.path.startswith(DOCS_PREFIX):
        headers.setdefault("Content-Security-Policy", CSP_DOCS)
    elif response.mimetype == "text/html":
        headers.setdefault("Content-Security-Policy", CSP_PAGE.format(live=live_origin()))
        # It says who is logged in.
        headers.setdefault("Cache-Control", "no-store")
    else:
        headers.setdefault("Content-Security-Policy", CSP_DATA)
        # Tokens and stock have no business in a cache; a view that knows better says so itself.
        headers.setdefault("Cache-Control", "no-store")
    return response


def _allow_origin(response: Response) -> Response:
    """CORS for the origins that the settings name, without credentials: tokens travel in a header."""
    allowed = settings().cors_origins
    if not allowed:
        return response
    response.vary.add("Origin")
    if request.headers.get("Origin") in allowed:
        headers = response.headers
        headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        headers["Access-Control-Expose-Headers"] = CORS_RESPONSE_HEADERS
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            headers["Access-Control-Allow-Methods"] = CORS_METHODS
            headers["Access-Control-Allow-Headers"] = CORS_REQUEST_HEADERS
            headers["Access-Control-Max-Age"] = str(CORS_MAX_AGE_SECONDS)
    return response
