"""The application: every part of it put together, the same for web (threads behind a loop) and live (greenlets)."""

from flask_openapi.openapi import OpenAPI

from models.logs import configure_logging
from models.settings import settings
from web import (
    accounts,
    categories,
    fraud,
    health,
    ip_rules,
    leaderboard,
    products,
    purchases,
    reservations,
    sales,
    series,
    users,
)
from web.auth import init_auth
from web.body import init_bodies
from web.cli import init_cli
from web.desk import api as desk_api
from web.desk import routes as desk
from web.desk.home import init_desk
from web.dialects import init_dialects
from web.doorstep import init_doorstep
from web.errors import init_errors, refuse_invalid
from web.forwarded import init_forwarded
from web.fresh import init_fresh
from web.guard import init_guard
from web.headers import init_headers
from web.ids import AnyIdConverter, IdConverter
from web.json import OrjsonProvider
from web.limits import init_limits, limiter
from web.metrics import blueprint as metrics_blueprint
from web.metrics import init_metrics
from web.openapi import init_openapi, new_openapi_app
from web.pages import buyers, session
from web.pages.hooks import init_pages
from web.postman import init_postman
from web.requestlog import init_request_log
from web.socket_bounds import init_socket_bounds
from web.sockets import init_sockets
from web.stopping import init_stopping
from web.traces import init_traces
from web.trail import init_trail

# The API, one blueprint a resource. A new one is added here, and nowhere else.
API = (
    accounts.blueprint,
    users.blueprint,
    products.blueprint,
    categories.blueprint,
    sales.blueprint,
    purchases.blueprint,
    reservations.blueprint,
    leaderboard.blueprint,
    series.blueprint,
    ip_rules.blueprint,
    fraud.blueprint,
    desk_api.blueprint,
)

# What people look at.
PAGES = (buyers.blueprint, session.blueprint, *desk.PAGES)


def create_app() -> OpenAPI:
    """A new application from the settings of this process. Connects to nothing yet.

    Raises RuntimeError where a setting that it cannot do without is missing.
    """
    _require_settings()
    configure_logging()
    app = new_openapi_app(__name__)
    app.json = OrjsonProvider(app)
    # `int` too: werkzeug's own takes more digits than Python reads, which is a 500.
    app.url_map.converters |= {"id": AnyIdConverter, "int": IdConverter}
    app.config["MAX_CONTENT_LENGTH"] = settings().request_bytes_max
    app.validation_error_callback = refuse_invalid
    # Clients of Express, which serves `/api/products/` as `/api/products`, may write either; a page has one address.
    app.url_map.strict_slashes = False
    for blueprint in API:
        app.register_api(blueprint)
    init_dialects(app)
    app.url_map.strict_slashes = True
    for pages in PAGES:
        app.register_blueprint(pages)
    limiter.exempt(health.blueprint)
    app.register_blueprint(health.blueprint)
    limiter.exempt(metrics_blueprint)
    app.register_blueprint(metrics_blueprint)
    init_sockets(app)
    init_openapi(app)
    init_postman(app)
    init_cli(app)
    init_doorstep(app)
    # Around the doorstep, which believes of a proxy what this believes.
    init_forwarded(app)
    # The order of these is the order in which a request meets them.
    init_request_log(app)
    init_traces(app)
    init_metrics(app)
    init_stopping(app)
    init_trail(app)
    init_headers(app)
    init_socket_bounds(app)
    init_guard(app)
    init_fresh(app)
    init_pages(app)
    init_desk(app)
    init_limits(app)
    init_auth(app)
    init_bodies(app)
    init_errors(app)
    return app


def _require_settings() -> None:
    known = settings()
    needed = {"DATABASE_URL": known.database_url, "REDIS_URL": known.redis_url, "JWT_SECRET_KEY": known.jwt_secret_key}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise RuntimeError(f"{', '.join(missing)} must be set: see .env.example")
