"""The application with its doorstep, and Flask behind it, asked the same."""

import io
import re
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count

from models.announce import rebuild_view
from models.redisclient import redis_client
from models.tokens import issue_access_token
from tests.onloop import body_message, scope_of
from web.doorstep import Doorstep

# What differs between two answers to the same request, and may.
OWN = re.compile(r'"(serverTime|estimateSeconds)":("[^"]*"|[\d.]+)')
numbers = count(1)


@dataclass(frozen=True)
class Answer:
    status: str
    headers: dict[str, str]
    body: bytes

    def alike(self):
        """What must be the same both ways; a header's place among the others is nobody's business."""
        headers = dict(self.headers)
        request_id = headers.pop("X-Request-Id")
        assert len(request_id) >= 8
        headers.pop("Content-Length", None)
        return self.status.split()[0], headers, OWN.sub("", self.body.decode())


def whole_environ(environ):
    """A request of which only so much is said, and its body."""
    body = environ.pop("body", b'{"quantity":1}')
    base = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "shop.test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "shop.test",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    given_up = {name for name, value in environ.items() if value is None}
    return {name: value for name, value in (base | environ).items() if name not in given_up}, body


def ask(application, **environ):
    told = []
    whole, _ = whole_environ(environ)
    chunks = application(whole, lambda status, headers, _=None: told.append((status, headers)))
    sent = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    [(status, headers)] = told
    return _answer(status, headers, sent)


def ask_on_loop(front, **environ):
    """The same of the front, which is told as a server tells it."""
    whole, body = whole_environ(environ)
    head, *pieces = front.ask(scope_of(whole), body_message(body))
    assert not pieces[-1].get("more_body")
    headers = [(name.decode(), value.decode("latin-1")) for name, value in head["headers"]]
    status = HTTPStatus(head["status"])
    said = f"{status.value} {status.phrase.upper()}"
    return _answer(said, headers, b"".join(piece["body"] for piece in pieces))


def _answer(status, headers, body):
    # HTTP's names are the same in any letters, and ASGI has them in small ones.
    names = [name.title().replace("Ratelimit", "RateLimit") for name, _ in headers]
    assert len(names) == len(set(names)), f"said twice: {names}"
    return Answer(status, dict(zip(names, (value for _, value in headers), strict=True)), body)


class Ways:
    """Through the doorstep, as a thread or an event loop (`front`) takes a request there, and around it."""

    def __init__(self, app, front=None):
        self.asked_flask = 0
        # Behind what believes a proxy of ours, the doorstep comes first.
        self.whole = app.wsgi_app
        [self.doorstep] = [
            cell.cell_contents for cell in app.wsgi_app.__closure__ if isinstance(cell.cell_contents, Doorstep)
        ]
        self.flask = self.doorstep.flask
        self.doorstep.flask = self._count
        self.front = front
        if front is not None:
            front.front._behind._application = self._count

    def _count(self, environ, start_response):
        self.asked_flask += 1
        return self.flask(environ, start_response)

    def through(self, **environ):
        """The answer of the whole, and whether the doorstep gave it."""
        before = self.asked_flask
        answer = ask_on_loop(self.front, **environ) if self.front else ask(self.whole, **environ)
        return answer, self.asked_flask == before

    def around(self, **environ):
        return ask(self.flask, **environ)


def bearer(user_id, **claims):
    return f"Bearer {issue_access_token(user_id, 'customer', **claims)}"


def units(sale, **environ):
    """A plain request of a buyer who never came before."""
    return {
        "PATH_INFO": f"/api/flash-sales/{sale.id}/purchases",
        "HTTP_AUTHORIZATION": bearer(next(numbers)),
    } | environ


def forget(sale):
    """The stores as they were before anybody came."""
    redis_client().flushall()
    rebuild_view(sale.id)


def assert_alike(ways, sale, *, by_doorstep=True, spoil=lambda: None, **environ):
    """Ask both ways, each on a sale to which nobody came yet."""
    environ = units(sale) | environ
    forget(sale)
    spoil()
    short, was_short = ways.through(**environ)
    forget(sale)
    spoil()
    long = ways.around(**environ)
    assert short.alike() == long.alike()
    assert was_short is by_doorstep
    return short
