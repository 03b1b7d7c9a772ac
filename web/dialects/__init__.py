"""Dialects: the calls of older flash-sale systems, each a thin translation onto the same services.

One module a dialect, named after its reference document. Successes have the shapes that the document shows, without an
envelope; refusals are those of the rest of the API. What 003 and 004 describe are our own routes: see docs/dialects.md.
"""

from flask_openapi.openapi import OpenAPI

from web.dialects import api_001, sales_000


def init_dialects(app: OpenAPI) -> None:
    """Serve the dialects from this app. Called when every other route is registered."""
    app.register_api(sales_000.blueprint)
    app.register_api(api_001.blueprint)
    api_001.serve_without_prefix(app)
