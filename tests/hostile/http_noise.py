"""HTTP that is well enough formed to reach the application, with anything at all inside: methods, targets, headers,
types, encodings and bodies."""

import gzip
import json
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, urlencode

from hypothesis import strategies as st

from tests.hostile.house import House
from tests.hostile.oracle import Noted, judge
from tests.hostile.wire import send

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "X" * 40]
ROUTES = [
    "GET /",
    "GET /api",
    "GET /api/flash-sales",
    "GET /api/flash-sales/live",
    "GET /api/flash-sales/{sale}",
    "POST /api/flash-sales/{sale}/purchases",
    "POST /api/flash-sales/{sale}/purchases",
    "GET /api/flash-sales/{sale}/purchases/1",
    "POST /api/flash-sales/{sale}/reservations",
    "GET /api/flash-sales/{sale}/leaderboard",
    "GET /api/flash-sales/{sale}/audit",
    "GET /api/purchases/{sale}-1",
    "POST /api/purchases/{sale}-1/checkout",
    "POST /api/purchases/{sale}-1/cancel",
    "GET /api/users/me/purchases",
    "GET /api/products",
    "GET /api/products/{product}",
    "POST /api/products",
    "GET /api/categories",
    "POST /api/auth/signup",
    "POST /api/auth/login",
    "POST /api/auth/refresh",
    "POST /api/auth/logout",
    "POST /api/ws-tickets",
    "POST /api/series",
    "GET /api/ip-rules",
    "GET /api/fraud-records",
    "POST /api/reserve",
    "POST /api/checkout",
    "POST /api/purchase-product",
    "POST /purchase",
    "GET /ws",
    "GET /sales/{sale}",
    "GET /login",
    "GET /signup",
    "GET /account",
    "POST /session/login",
    "POST /session/signup",
    "POST /session/refresh",
    "GET /session/resume",
    "GET /admin",
    "GET /admin/sales",
    "GET /admin/users",
    "GET /admin/sales/{sale}/desk",
    "POST /admin/sales/{sale}/restock",
    "GET /healthz",
    "GET /readyz",
    "GET /static/doorbuster.css",
    "GET /api/openapi.json",
]
QUERY_NAMES = ["page", "limit", "cursor", "search", "searchTerm", "status", "sortBy", "wait", "ticket", "since", "x"]
# What reads a header and how it may be got wrong: each beside what any text may be.
HEADERS = {
    "Prefer": ["wait=1", "wait=0", "wait=-1", "wait=1e9", "wait=99999", 'wait="1"', "respond-async, wait=1", "wait=٣"],
    "Idempotency-Key": ["once", '"quoted"', "a b", "x" * 128, "x" * 129, '"', "ключ", "{sale:1}:view"],
    "Cookie": ["access_token=x; access_token=y", "session=.eJw.x.y", "=", ";;;", "access_token_cookie=" + "e" * 900],
    "X-Forwarded-For": ["1.2.3.4", "::1", "1.2.3.4, unknown", "[::1]:80", "999.1.1.1", ",,,", "1.2.3.4," * 60],
    "X-Forwarded-Proto": ["https", "javascript", ""],
    "X-Forwarded-Host": ["evil.example", "evil.example/?"],
    "Accept-Language": ["de-DE,de;q=0.9", "q=;;", "*;q=9", "a" * 500, "en;q=nan"],
    "Accept": ["*/*", "application/json;q=x", "text/html", ";", "image/*"],
    "If-None-Match": ['"x"', "*", 'W/"', '"' * 90, "W/" * 90],
    "If-Modified-Since": ["Sat, 29 Feb 2026 25:61:61 GMT", "0", "-1"],
    "Range": ["bytes=0-0", "bytes=5-1", "bytes=-", "bytes=0-,0-,0-", "lines=1-2", "bytes=" + "9" * 40],
    "If-Range": ['"x"', "yesterday"],
    "Content-Encoding": ["gzip", "br", "deflate, gzip", "x"],
    "Expect": ["100-continue", "the worst"],
    "Origin": ["null", "https://evil.example", "http://127.0.0.1"],
    "Access-Control-Request-Method": ["POST", "?"],
    "Host": ["evil.example", "", "a b", "[::1", "127.0.0.1:99999999", "x" * 300],
    "X-Request-Id": ["abcdefgh", "../../etc", "x" * 65],
    "X-CSRF-Token": ["x", "x.y"],
    "Upgrade": ["websocket", "h2c"],
    "Connection": ["close", "close, Upgrade", "close, Transfer-Encoding"],
    "Sec-WebSocket-Key": ["x", "dGhlIHNhbXBsZSBub25jZQ=="],
    "Sec-WebSocket-Version": ["13", "8", "x"],
    "X-HTTP-Method-Override": ["DELETE"],
}
CONTENT_TYPES = [
    "application/json",
    "application/json; charset=utf-16",
    "application/json; charset=\x7f",
    "APPLICATION/JSON",
    "application/vnd.api+json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/octet-stream",
    "",
    ";;;",
]
FIELDS = [
    *("quantity", "groupKey", "productId", "flashSaleId", "name", "email", "password", "role", "refreshToken", "price"),
    *("flashPrice", "totalStock", "totalAmount", "startTime", "endTime", "rule", "zone", "network", "action", "all"),
]
NUMBERS = [0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**400), 1e308, 1e-320, 0.1, True, None]
TEXTS = ["", "1", "0", "-1", "1-1", "NaN", "٣", "\u0000", "'; --", "${7*7}", "{{7*7}}", "<b>", "../", "%00", "💥" * 40]

letters = st.text(st.characters(codec="utf-8"), max_size=40)
scalars = st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | letters | st.integers() | st.floats() | st.booleans()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(letters, inner, max_size=4))
units = st.sampled_from(
    [{"quantity": 1}, {"quantity": 1}, {"quantity": 2, "groupKey": "x"}, {"productId": "1", "quantity": 1}]
)
bodies = units | st.dictionaries(st.sampled_from(FIELDS) | letters, values, max_size=6)
header_texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=60)


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and which of the two servers hears it."""

    port: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def wire(self) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return f"{self.method} {self.target} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + self.body


def requests_at(house: House) -> st.SearchStrategy[Case]:
    """Requests to this house."""
    good = st.sampled_from([f"Bearer {token}" for token in house.tokens[1:]])
    bad = st.sampled_from(["", "Bearer", "Bearer ", "Basic eDp5", "bearer  x", "Bearer x.y.z", "Bearer " + "e" * 2_000])
    forged = st.binary(max_size=90).map(lambda raw: f"Bearer {raw.hex()}.{raw[::-1].hex()}.")
    others = st.none() | bad | forged | header_texts.map("Bearer {}".format)
    who = st.integers(0, 9).flatmap(lambda draw: others if draw < 3 else good)

    @st.composite
    def made(draw: st.DrawFn) -> Case:
        port = draw(st.sampled_from(house.ports))
        method, target = draw(targets(house))
        if draw(st.integers(0, 9)) == 0:
            method = draw(st.sampled_from(METHODS))
        headers = [("Host", f"127.0.0.1:{port}"), ("Connection", "close")]
        for name in draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=4, unique=True)):
            headers = [each for each in headers if each[0] != name]
            headers.append((name, draw(st.sampled_from(HEADERS[name]) | header_texts)))
        if (token := draw(who)) is not None:
            headers.append(("Authorization", token))
        body = draw(raw_bodies()) if method not in ("GET", "HEAD") or draw(st.integers(0, 9)) == 0 else b""
        if body:
            headers.append(("Content-Type", draw(st.just("application/json") | st.sampled_from(CONTENT_TYPES))))
        if body or method not in ("GET", "HEAD"):
            headers.append(("Content-Length", str(len(body))))
        return Case(port, method, target, headers, body)

    return made()


def _json(found: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    return st.builds(_as_json, found, st.booleans())


def _as_json(value: object, is_ascii: bool) -> bytes:
    return json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")


def _deep(depth: int) -> bytes:
    return b'{"name":' + b"[" * depth + b"]" * depth + b"}"


def _large(size: int) -> bytes:
    return b'{"name": "' + b"x" * size + b'"}'


def raw_bodies() -> st.SearchStrategy[bytes]:
    """JSON of a likely shape, JSON of any shape, broken JSON, a form, another encoding, or bytes."""
    likely = _json(bodies)
    cut = st.builds(lambda body, at: body[:at], likely, st.integers(0, 60))
    form = st.lists(st.tuples(st.sampled_from(FIELDS) | letters, letters), max_size=5).map(urlencode).map(str.encode)
    packed = st.one_of(
        likely.map(gzip.compress),
        likely.map(b"\xef\xbb\xbf".__add__),
        likely.map(lambda body: body.decode().encode("utf-16")),
    )
    deep = st.sampled_from([10, 900, 1_100, 20_000]).map(_deep)
    large = st.sampled_from([1_000, 60_000, 65_536, 70_000, 500_000]).map(_large)
    odd = st.one_of(_json(values), cut, form, packed, deep, large, st.binary(max_size=200))
    return st.integers(0, 9).flatmap(lambda draw: odd if draw < 4 else likely)


@st.composite
def targets(draw: st.DrawFn, house: House) -> tuple[str, str]:
    """A method, and a path of ours, one that is nearly ours, or none, with a query string."""
    own = st.just(str(house.sale_id))
    sale = draw(own | own | own | st.sampled_from(["0", "-1", "9" * 19, "9" * 30, "abc", "%00", "1%2f2", "٣"]))
    method, _, path = draw(st.sampled_from(ROUTES)).format(sale=sale, product=house.product_id).partition(" ")
    if draw(st.integers(0, 9)) == 0:
        path += "/" + quote_from_bytes(draw(st.binary(max_size=20)), safe="/%;.")
    if draw(st.booleans()):
        return method, path
    names = st.sampled_from(QUERY_NAMES) | st.binary(max_size=6).map(quote_from_bytes)
    texts = st.sampled_from(["1", "0", "-1", "1e9", "9" * 30, "%00", "%ff", "%", "", "NaN"])
    pairs = draw(st.lists(st.tuples(names, texts | st.binary(max_size=30).map(quote_from_bytes)), max_size=4))
    return method, path + "?" + "&".join(f"{name}={value}" for name, value in pairs)


def make_noise(house: House, case: Case, noted: Noted) -> None:
    """Send it, and judge what comes back."""
    try:
        answer = send(case.port, case.wire(), case.method)
    except TimeoutError:
        noted.count("http", "no answer")
        noted.complain("http", case, ["no answer"])
        return
    except OSError as why:
        noted.count("http", "hung up")
        noted.complain("http", case, [repr(why)])
        return
    noted.count("http", str(answer.status) if answer else "hung up")
    if answer is not None:
        noted.complain("http", case, judge(case.method, case.target, answer))
