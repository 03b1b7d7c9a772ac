"""What all pages have in common: sessions that go on, refusals that people can read, and what every template knows."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flask import Flask, Response, g, redirect, render_template, request
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from models.clock import from_ms, now, to_iso
from models.settings import settings
from web import cookies
from web.auth import optional_user
from web.pages.live import live_url
from web.pages.paths import here, with_next

# Answered by and for machines, whatever their Accept says.
NOT_PAGES = ("/api", "/static", "/session/refresh", "/session/resume", "/healthz", "/readyz", "/metrics", "/ws")
UNAUTHORIZED = 401
HEADINGS = {403: "Not for you", 404: "Not found", 429: "Slow down", 503: "Back in a moment"}


def init_pages(app: Flask) -> None:
    """Called after init_headers, so that a refusal that became a page gets a page's headers."""
    app.before_request(_resume_session)
    # Last registered is first called.
    app.after_request(_keep_csrf)
    app.after_request(_say_it_in_a_page)
    app.context_processor(_known_to_templates)
    app.jinja_env.filters |= {"money": money, "moment": moment, "iso": to_iso, "from_ms": from_ms}
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def _is_page() -> bool:
    if request.path.startswith(NOT_PAGES):
        return False
    # Whoever accepts everything, as curl does, is a program.
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def _resume_session() -> AnyResponse | None:
    """Whoever was logged in here and whose access token has run out goes by way of /session, where the refresh token
    is sent, and comes back."""
    if request.method != "GET" or not _is_page() or optional_user() is not None or not cookies.csrf_user():
        return None
    return redirect(with_next("/session/resume", here()), 303)


def _say_it_in_a_page(response: Response) -> AnyResponse:
    """A refusal to a person is a page with the same status; whoever is not logged in is sent to do that."""
    if response.status_code < 400 or response.mimetype != "application/json" or not _is_page():  # noqa: PLR2004
        return response
    if response.status_code == UNAUTHORIZED and request.method == "GET":
        login = redirect(with_next("/login", here()), 303)
        # The token may be well signed and revoked: without this its bearer would go round in circles.
        cookies.end_session(login)
        return login
    refused = response.get_json()
    heading = HEADINGS.get(response.status_code, "Something went wrong")
    response.set_data(render_template("error.html", heading=heading, message=refused["message"]))
    response.mimetype = "text/html"
    return response


def _keep_csrf(response: Response) -> Response:
    if "csrf_token" in g:
        cookies.keep_csrf(response, g.csrf_token)
    return response


def csrf_input() -> Markup:
    """The hidden field that every form with method="post" needs; the cookie that goes with it comes along."""
    if "csrf_token" not in g:
        user = optional_user()
        g.csrf_token = cookies.csrf_token(user.user_id if user else cookies.NOBODY)
    return Markup('<input type="hidden" name="{}" value="{}">').format(cookies.CSRF_FIELD, g.csrf_token)


def _known_to_templates() -> dict[str, Any]:
    user = optional_user()
    return {
        "user": user,
        "session_seconds": settings().access_token_minutes * 60,
        "session_left": max(0, int((user.expires_at - now()).total_seconds())) if user else 0,
        "csrf_input": csrf_input,
        "live_url": live_url(),
        "login_url": with_next("/login", here()),
        "signup_url": with_next("/signup", here()),
    }


def money(amount: Decimal, currency: str) -> Markup:
    """For everybody `49.99 USD`; a script writes it as the visitor's locale does."""
    return Markup('<data class="money" value="{0}" data-currency="{1}">{0}&nbsp;{1}</data>').format(amount, currency)


def moment(at: datetime, precise: bool = False) -> Markup:  # noqa: FBT001, FBT002 - a filter's argument
    """For everybody in UTC; a script writes it in the visitor's zone and locale. `precise`: with seconds."""
    clock = "%H:%M:%S" if precise else "%H:%M"
    shown = at.astimezone(UTC).strftime(f"%-d %B %Y, {clock} UTC")
    mark = Markup(" data-precise") if precise else ""
    return Markup('<time datetime="{}"{}>{}</time>').format(to_iso(at), mark, shown)
