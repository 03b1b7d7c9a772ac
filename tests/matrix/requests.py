"""How each route is asked: what stands in its path and in its body, so that the answer hangs on who asks alone."""

import re
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from tests.matrix.callers import Caller
from tests.matrix.world import BLOCKED, CUSTOMER
from web import cookies
from web.app import PAGES

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
PASSWORD = "customer123"
# What stands in a path, where ASKED does not say otherwise.
IN_PATHS: dict[str, Any] = {
    "sale_id": 1,
    "ticket": 1,
    "purchase_id": "1-1",
    "product_id": 1,
    "category_id": 1,
    "series_id": 1,
    "rule_id": 1,
    "record_id": 1,
    "user_id": CUSTOMER,
    "filename": "doorbuster.css",
}
PAGE_BLUEPRINTS = tuple(f"{blueprint.name}." for blueprint in PAGES)


@dataclass(frozen=True)
class Asked:
    """The path's values, the body (JSON for the API, a form for a page) and the query of a route's question."""

    path: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    query: str = ""


LOGIN = {"email": "person1@shop.test", "password": PASSWORD}
SIGNUP = {"name": "Kim", "email": "kim@shop.test", "password": PASSWORD}
SALE = {"productId": "7", "title": "A new sale", "flashPrice": 49.99, "startTime": "2035-01-31T18:00:00Z"}
SERIES = {
    "productId": "7",
    "title": "First Friday",
    "rule": "FREQ=MONTHLY;BYDAY=1FR",
    "startsLocal": "2035-01-04T18:00:00",
    "zone": "UTC",
    "flashPrice": 49.99,
}
DISCOUNT = {"productId": "7", "startTime": "2035-03-04T12:00:00Z", "endTime": "2035-03-04T14:00:00Z", "discount": 20}
PRODUCT = {"name": "Runner 9", "price": 99.99}
RANGE = {"network": "192.0.2.0/24", "action": "deny", "reason": "bots"}
BUYS_IN_SALE = {"flashSaleId": "1", "quantity": 1}

# By method and rule; whatever is not here has neither a body nor anything of its own in its path.
ASKED: dict[str, Asked] = {
    "POST /api/auth/signup": Asked(body=SIGNUP),
    "POST /api/auth/login": Asked(body=LOGIN),
    "POST /api/auth/refresh": Asked(body={"refreshToken": None}),
    "POST /admin/categories/<id:category_id>": Asked(body={"name": "Boots", "was.name": "Shoes"}),
    "POST /admin/users/new": Asked(body=SIGNUP),
    "POST /admin/users/<id:user_id>": Asked(body={"name": "Kim", "was.name": "Person 1"}),
    "POST /api/users": Asked(body=SIGNUP),
    "PATCH /api/users/<id:user_id>": Asked(body={"name": "Kim"}),
    "POST /api/users/<id:user_id>/unblock": Asked({"user_id": BLOCKED}),
    "POST /api/users/me/password": Asked(body={"oldPassword": PASSWORD, "newPassword": "another customer 123"}),
    "POST /session/login": Asked(body=LOGIN),
    "POST /session/signup": Asked(body=SIGNUP),
    "POST /api/signup": Asked(body=SIGNUP),
    "POST /signup": Asked(body=SIGNUP),
    "POST /api/signin": Asked(body=LOGIN),
    "POST /signin": Asked(body=LOGIN),
    "POST /api/categories": Asked(body={"name": "Hats"}),
    "PATCH /api/categories/<id:category_id>": Asked(body={"name": "Boots"}),
    "POST /admin/categories/new": Asked(body={"name": "Hats"}),
    "POST /api/products": Asked(body=PRODUCT),
    "PATCH /api/products/<id:product_id>": Asked(body={"price": 89.99}),
    "DELETE /api/products/<id:product_id>": Asked({"product_id": 7}),
    "POST /admin/products/new": Asked(body=PRODUCT),
    "POST /admin/products/<id:product_id>": Asked(body={"name": "Boots", "was.name": "Shoes"}),
    "POST /admin/products/<id:product_id>/delete": Asked({"product_id": 7}),
    "POST /api/create-product": Asked(body=PRODUCT),
    "POST /create-product": Asked(body=PRODUCT),
    "POST /api/flash-sales": Asked(body=SALE),
    "POST /admin/sales/new": Asked(body=SALE),
    "PATCH /api/flash-sales/<id:sale_id>": Asked(body={"isFeatured": True}),
    "POST /admin/sales/<id:sale_id>": Asked(body={"title": "Another title", "was.title": "A sale"}),
    "POST /admin/sales/<id:sale_id>/restock": Asked(body={"totalStock": "60", "was.totalStock": "50"}),
    "DELETE /api/flash-sales/<id:sale_id>": Asked({"sale_id": 3}),
    "POST /api/flash-sales/<id:sale_id>/cancel": Asked({"sale_id": 2}),
    "POST /api/flash-sales/<id:sale_id>/resume": Asked({"sale_id": 4}),
    "POST /api/flash-sales/<id:sale_id>/restart": Asked({"sale_id": 3}),
    "POST /admin/sales/<id:sale_id>/restart": Asked({"sale_id": 3}),
    "POST /start-sale": Asked(body={"productId": "7", "startTime": "2035-03-03T12:00:00Z"}),
    **{
        f"POST {path}": Asked(body=DISCOUNT)
        for path in ("/api/create-flash-sale", "/create-flash-sale", "/api/flash-sale", "/flash-sale")
    },
    "POST /api/flash-sales/<id:sale_id>/purchases": Asked(body={"quantity": 1}),
    "POST /api/flash-sales/<id:sale_id>/reservations": Asked(body={"quantity": 1}),
    "POST /purchase": Asked(body={"productId": "1", "quantity": 1}),
    "POST /api/purchase-product": Asked(body=BUYS_IN_SALE),
    "POST /purchase-product": Asked(body=BUYS_IN_SALE),
    "POST /api/reserve": Asked(body={"productId": "1", "quantity": 1}),
    "POST /api/checkout": Asked(body={"productId": "1", "quantity": 1, "totalAmount": 49.99}),
    "DELETE /api/purchases/<purchase_id>": Asked({"purchase_id": "1-2"}),
    "POST /api/purchases/<purchase_id>/checkout": Asked({"purchase_id": "1-2"}),
    "POST /api/purchases/<purchase_id>/refund": Asked(body={"reason": "arrived broken"}),
    "POST /admin/purchases/<purchase_id>": Asked(body={"reason": "arrived broken"}),
    "GET /api/leaderboard": Asked(query="flashSaleId=1"),
    "POST /api/series": Asked(body=SERIES),
    "POST /admin/series/new": Asked(body=SERIES),
    "PATCH /api/series/<id:series_id>": Asked(body={"title": "Every evening"}),
    "POST /admin/series/<id:series_id>": Asked(body={"title": "Every evening", "was.title": "Every day"}),
    "POST /api/series/<id:series_id>/resume": Asked({"series_id": 2}),
    "POST /api/ip-rules": Asked(body=RANGE),
    "PATCH /api/ip-rules/<id:rule_id>": Asked(body={"reason": "bots, seen again"}),
    "POST /admin/ip-rules/new": Asked(body=RANGE),
    "POST /admin/ip-rules/<id:rule_id>": Asked(body={"reason": "seen again", "was.reason": "bots"}),
    "POST /api/fraud-records/<id:record_id>/overrule": Asked(body={"note": "a family"}),
    "DELETE /api/fraud-records/<id:record_id>/overrule": Asked({"record_id": 2}),
    "POST /admin/fraud-records/<id:record_id>/overrule": Asked(body={"note": "a family"}),
    "POST /admin/fraud-records/<id:record_id>/withdraw": Asked({"record_id": 2}),
    "GET /api/docs/swagger/<path:filename>": Asked({"filename": "css/swagger-ui.css"}),
    "GET /api/docs/redoc/<path:filename>": Asked({"filename": "js/redoc.standalone.js"}),
    "GET /api/docs/static/<path:filename>": Asked({"filename": "no-such-file"}),
}


def route_of(method: str, rule: Rule) -> str:
    return f"{method} {rule.rule}"


def routes(app: Flask) -> dict[str, Rule]:
    """Every route of the application by its method and rule, without those of the WebSocket: they have a table too."""
    found = {}
    for rule in app.url_map.iter_rules():
        if not rule.websocket:
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                found[route_of(method, rule)] = rule
    return found


def is_page(rule: Rule) -> bool:
    return rule.endpoint.startswith(PAGE_BLUEPRINTS)


def path_of(rule: Rule, values: dict[str, Any]) -> str:
    """The path of a rule with these values in it; of `<any(a,b):name>` the first that can stand there."""

    def value(part: re.Match[str]) -> str:
        choices, name = part[1], part[2]
        return choices.partition(",")[0].strip("'") if choices else str(values[name])

    return re.sub(r"<(?:any\(([^)]*)\):|\w+:)?(\w+)>", value, rule.rule)


def ask(app: Flask, route: str, rule: Rule, caller: Caller) -> Any:
    """The answer of a route to somebody: by the cookies of a browser for a page, by a header for everything else."""
    method = route.partition(" ")[0]
    asked = ASKED.get(route, Asked())
    path = path_of(rule, IN_PATHS | asked.path)
    body = dict(asked.body) if asked.body is not None else None
    if body and "refreshToken" in body:
        body["refreshToken"] = "" if caller.from_another_site else caller.refresh or ""
    by_browser = is_page(rule) or caller.from_another_site
    headers = _of_a_browser(app, caller, wants_page=is_page(rule)) if by_browser else _of_a_program(caller)
    given: dict[str, Any] = {"data": body} if is_page(rule) else {"json": body} if body is not None else {}
    return app.test_client(use_cookies=False).open(
        path, method=method, query_string=asked.query, headers=headers, buffered=True, **given
    )


def _of_a_program(caller: Caller) -> dict[str, str]:
    return {"Authorization": f"Bearer {caller.access}"} if caller.access else {}


def _of_a_browser(app: Flask, caller: Caller, *, wants_page: bool) -> dict[str, str]:
    with app.test_request_context():
        csrf = cookies.csrf_token(caller.user_id)
    kept = {cookies.ACCESS: caller.access, cookies.REFRESH: caller.refresh, cookies.CSRF: csrf}
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items() if value)}
    if wants_page:
        headers["Accept"] = HTML
    if not caller.from_another_site:
        headers[cookies.CSRF_HEADER] = csrf
    return headers
