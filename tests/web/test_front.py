"""The front of web: what a server tells it in ASGI's words, and what is behind it."""

import asyncio
import json
import threading

import pytest
from structlog.testing import capture_logs

from models.settings import settings
from models.tokens import issue_access_token
from tests.onloop import OnLoop, body_message, scope_of
from web import behind, front, readiness
from web.app import create_app
from web.behind import Behind
from web.environ import environ_of

PATIENCE_SECONDS = 60
PLAIN = {
    "REQUEST_METHOD": "POST",
    "PATH_INFO": "/api/auth/login",
    "QUERY_STRING": "",
    "SERVER_NAME": "shop.test",
    "SERVER_PORT": "80",
    "REMOTE_ADDR": "192.0.2.1",
    "CONTENT_TYPE": "application/json",
    "wsgi.url_scheme": "http",
}


@pytest.fixture(scope="module")
def app_of_ours(servers):
    return create_app()


@pytest.fixture
def loop(app_of_ours, store):
    with OnLoop(app_of_ours) as on_loop:
        yield on_loop


def told(messages):
    """Status, code and headers of what was sent."""
    head, *pieces = messages
    body = b"".join(piece["body"] for piece in pieces)
    return head["status"], json.loads(body or b"{}").get("code"), dict(head["headers"])


class TestBodies:
    def test_one_in_pieces_is_read_whole(self, loop):
        body = b'{"email": "kim@example.org", "password": "wrong password"}'
        scope = scope_of(PLAIN | {"CONTENT_LENGTH": str(len(body))})

        status, code, _ = told(loop.ask(scope, body_message(body[:9], more=True), body_message(body[9:])))

        assert (status, code) == (401, "BAD_CREDENTIALS")

    def test_one_in_chunks_that_says_nothing_of_its_length_is_read_whole(self, loop):
        scope = scope_of(PLAIN | {"HTTP_TRANSFER_ENCODING": "chunked"})

        status, code, _ = told(loop.ask(scope, body_message(b'{"email":', more=True), body_message(b" 1}")))

        assert (status, code) == (400, "VALIDATION_ERROR")

    @pytest.mark.parametrize("headers", [{"CONTENT_LENGTH": "50000000"}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
    def test_one_above_the_limit_is_refused_before_all_of_it_has_come(self, loop, headers):
        piece = b" " * (settings().request_bytes_max // 2 + 1)
        scope = scope_of(PLAIN | headers)

        status, _, _ = told(loop.ask(scope, *[body_message(piece, more=True)] * 2))

        assert status == 413

    def test_one_that_does_not_come_is_408_where_it_is_needed_and_401_where_a_token_is(
        self, app_of_ours, store, monkeypatch
    ):
        monkeypatch.setattr(front, "BODY_SECONDS_MAX", 0.2)
        with OnLoop(app_of_ours) as loop:
            late = scope_of(PLAIN | {"CONTENT_LENGTH": "50"})
            strangers = scope_of(PLAIN | {"CONTENT_LENGTH": "50", "PATH_INFO": "/api/products"})
            forged = f"Bearer {issue_access_token(1, 'customer')[:-4]}AAAA"
            units = PLAIN | {"CONTENT_LENGTH": "50", "PATH_INFO": "/api/flash-sales/1/purchases"}

            assert told(loop.ask(late, body_message(b"{", more=True)))[:2] == (408, "REQUEST_TIMEOUT")
            assert told(loop.ask(strangers))[0] == 401
            assert told(loop.ask(scope_of(units | {"HTTP_AUTHORIZATION": forged})))[0] == 401

    def test_one_that_breaks_off_or_whose_chunks_are_none_is_a_400_in_our_words(self, loop):
        """granian says of both that the client has gone, and would say 500 itself if nobody answered."""
        scope = scope_of(PLAIN | {"CONTENT_LENGTH": "50"})

        status, code, headers = told(loop.ask(scope, body_message(b"{", more=True), {"type": "http.disconnect"}))

        assert (status, code, headers[b"connection"]) == (400, "BAD_REQUEST", b"close")
        assert headers[b"x-content-type-options"] == b"nosniff"


class TestEnvironments:
    def test_a_header_that_would_pass_for_another_one_does_not_come_through(self):
        scope = scope_of(PLAIN)
        scope["headers"] += [(b"x_forwarded_for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]

        environ = environ_of(scope)

        assert "HTTP_X_FORWARDED_FOR" not in environ
        assert environ["HTTP_X_FORWARDED_PROTO"] == "https"

    def test_what_comes_twice_is_joined(self):
        scope = scope_of(PLAIN)
        scope["headers"] += [
            (b"prefer", b"wait=1"),
            (b"prefer", b"return=minimal"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
        ]

        environ = environ_of(scope)

        assert environ["HTTP_PREFER"] == "wait=1,return=minimal"
        assert environ["HTTP_COOKIE"] == "a=1; b=2"

    def test_a_path_is_the_bytes_of_its_text(self):
        environ = environ_of(scope_of(PLAIN) | {"path": "/é"})

        assert environ["PATH_INFO"] == "/Ã©"

    def test_a_server_that_knows_no_addresses_is_no_reason_to_fail(self):
        assert environ_of(scope_of(PLAIN) | {"client": None, "server": None})["REMOTE_ADDR"] == ""


def answered(application, *, threads=1, send=None):
    """What a WSGI application behind the front sends."""
    sent = []

    async def keep(message):
        sent.append(message)

    async def run():
        await Behind(application, threads, "test").answer({"PATH_INFO": "/"}, send or keep)

    asyncio.run(run())
    return sent


class TestBehind:
    def test_what_is_short_is_one_piece_and_what_was_said_is_closed(self):
        closed = []

        class Said(list):
            def close(self):
                closed.append(True)

        def application(_environ, start):
            start("200 OK", [("Content-Type", "text/plain"), ("X-Odd", "ü")])
            return Said([b"a", b"b"])

        head, piece = answered(application)

        assert head["status"] == 200
        assert (b"x-odd", "ü".encode("latin-1")) in head["headers"]
        assert piece == {"type": "http.response.body", "body": b"ab", "more_body": False}
        assert closed == [True]

    def test_what_is_long_comes_in_pieces_and_all_of_it(self, monkeypatch):
        monkeypatch.setattr(behind, "PIECE_BYTES", 10)

        def application(_environ, start):
            start("200 OK", [])
            yield from (bytes([n]) * 4 for n in range(10))

        _, *pieces = answered(application)

        assert b"".join(piece["body"] for piece in pieces) == b"".join(bytes([n]) * 4 for n in range(10))
        assert [piece["more_body"] for piece in pieces] == [True] * 3 + [False]

    def test_what_is_written_comes_before_what_is_returned(self):
        def application(_environ, start):
            start("200 OK", [])(b"first ")
            return [b"then"]

        _, piece = answered(application)

        assert piece["body"] == b"first then"

    def test_an_application_that_fails_is_a_500_that_says_nothing_of_it(self):
        def application(_environ, _start):
            raise ValueError("secret")

        head, piece = answered(application)

        assert head["status"] == 500
        assert json.loads(piece["body"])["code"] == "INTERNAL_ERROR"
        assert b"secret" not in piece["body"]

    def test_one_that_fails_in_the_middle_is_cut_off_and_not_taken_for_whole(self, monkeypatch):
        monkeypatch.setattr(behind, "PIECE_BYTES", 1)
        sent = []

        async def keep(message):
            sent.append(message)

        def application(_environ, start):
            start("200 OK", [])
            yield b"a"
            raise ValueError("in the middle")

        with pytest.raises(ValueError, match="in the middle"):
            answered(application, send=keep)

        assert [message.get("more_body") for message in sent] == [None, True]

    def test_whoever_takes_nothing_holds_no_thread_and_is_given_up(self, monkeypatch):
        monkeypatch.setattr(behind, "PIECE_BYTES", 1)
        monkeypatch.setattr(behind, "PIECE_SECONDS_MAX", 1)
        closed = threading.Event()

        class Said:
            def __iter__(self):
                return iter([b"a", b"b"])

            def close(self):
                closed.set()

        def application(environ, start):
            start("200 OK", [])
            return [b"short"] if environ["PATH_INFO"] == "/short" else Said()

        async def take_nothing(message):
            if message["type"] == "http.response.body":
                await asyncio.get_running_loop().create_future()

        heard = []

        async def keep(message):
            heard.append(message)

        async def run():
            one = Behind(application, 1, "test")
            slow = asyncio.create_task(one.answer({"PATH_INFO": "/"}, take_nothing))
            await asyncio.sleep(0.1)
            await one.answer({"PATH_INFO": "/short"}, keep)
            is_still_waiting = not slow.done()
            with pytest.raises(TimeoutError):
                await slow
            return is_still_waiting

        assert asyncio.run(run())
        assert b"".join(message.get("body", b"") for message in heard) == b"short"
        assert closed.is_set()


def test_a_front_is_ready_before_its_first_request(app_of_ours, store, monkeypatch):
    """The rules, the news and the waker: the first of a rush would wait for them."""
    ready = []
    for name in ("standing_copy", "waiters", "waker"):
        real = getattr(readiness, name)
        monkeypatch.setattr(readiness, name, lambda name=name, real=real: ready.append(name) or real())

    with OnLoop(app_of_ours):
        assert set(ready) == {"standing_copy", "waiters", "waker"}


@pytest.mark.parametrize("path", ["/ws", "/"])
def test_whoever_wants_a_websocket_of_web_is_sent_elsewhere_and_nothing_is_broken(loop, path):
    handshake = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with capture_logs() as lines:
        status, code, headers = told(loop.ask(scope_of(PLAIN | handshake)))

    assert (status, code, headers[b"connection"]) == (421, "NO_WEBSOCKETS_HERE", b"close")
    assert not lines
