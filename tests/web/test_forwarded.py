"""Over what a request came: a proxy of ours may say it, and nobody else. 10.0.0.0/8 and fd00::/8 are our proxies."""

import http.client
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.settings import settings
from ops.ports import LOOPBACK, free_port
from ops.processes import application
from tests.ending import end
from tests.pipeline.conftest import eventually

ROOT = Path(__file__).parents[2]
HTML = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def _proxies(change_settings):
    change_settings(TRUSTED_PROXIES="10.0.0.0/8, fd00::/8")


@pytest.fixture
def ask(client, store):
    """ask("10.0.0.1", "https") -> the login page, as it is shown to whoever that peer passes on"""

    def ask(peer, proto=None, host="shop.test"):
        headers = HTML | {"Host": host} | ({} if proto is None else {"X-Forwarded-Proto": proto})
        return client.get("/login", headers=headers, environ_overrides={"REMOTE_ADDR": peer})

    return ask


def socket_of(page):
    return page.text.partition('data-live-url="')[2].partition('"')[0]


def is_secure(page):
    """Whether the page's cookie travels over HTTPS alone."""
    [cookie] = page.headers.getlist("Set-Cookie")
    return "; Secure" in cookie


def sources(page):
    return page.headers["Content-Security-Policy"].partition("connect-src ")[2].partition(";")[0].split()


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "fd00::1"])
def test_behind_a_proxy_that_ends_tls_sockets_and_cookies_are_secure(ask, peer):
    page = ask(peer, "https")

    assert socket_of(page) == "wss://shop.test/ws"
    assert sources(page) == ["'self'", "wss://shop.test"]
    assert is_secure(page)


@pytest.mark.parametrize("peer", ["203.0.113.1", "127.0.0.1", "2001:db8::1", ""])
def test_the_word_of_anybody_else_is_worth_nothing(ask, peer):
    page = ask(peer, "https")

    assert socket_of(page) == "ws://shop.test:8001/ws"
    assert not is_secure(page)


@pytest.mark.parametrize(
    ("proto", "socket"),
    [
        ("http", "ws://shop.test/ws"),
        ("HTTPS", "wss://shop.test/ws"),
        # The nearest proxy wrote the last one.
        ("https, http", "ws://shop.test/ws"),
        ("http,https", "wss://shop.test/ws"),
        ("gopher", "ws://shop.test:8001/ws"),
        ("", "ws://shop.test:8001/ws"),
        ("https,", "ws://shop.test:8001/ws"),
        (None, "ws://shop.test:8001/ws"),
    ],
)
def test_a_proxy_says_http_or_https_and_everything_else_is_not_heard(ask, proto, socket):
    page = ask("10.0.0.1", proto)

    assert socket_of(page) == socket
    assert is_secure(page) == socket.startswith("wss")


def test_the_door_of_the_proxy_is_the_sockets_with_its_port(ask):
    assert socket_of(ask("10.0.0.1", "https", host="shop.test:8443")) == "wss://shop.test:8443/ws"
    assert socket_of(ask("10.0.0.1", "https", host="[2001:db8::5]:8443")) == "wss://[2001:db8::5]:8443/ws"
    assert socket_of(ask("203.0.113.1", host="[2001:db8::5]:8000")) == "ws://[2001:db8::5]:8001/ws"


def test_what_the_settings_say_stands_above_what_a_proxy_says(ask, change_settings):
    change_settings(TRUSTED_PROXIES="10.0.0.0/8", LIVE_URL="wss://live.shop.test/ws", COOKIE_SECURE="false")
    page = ask("10.0.0.1", "https")

    assert socket_of(page) == "wss://live.shop.test/ws"
    assert not is_secure(page)


@contextmanager
def serving(name, log, **variables):
    """A process of the table of processes, and its port."""
    port = free_port()
    known = settings().model_copy(update={"host": LOOPBACK, "port": port, "live_port": port, "web_workers": 1})
    [row] = [process for process in application(known) if process.name == name]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *row.command(1)], cwd=ROOT, env=os.environ | variables, stdout=output, stderr=output
        )
    try:
        eventually(lambda: answers(port), f"{name} answers", seconds=240)
        yield port
    finally:
        end(process)


def get(port, path, **headers):
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def answers(port):
    try:
        return get(port, "/healthz").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("name", ["web", "live"])
@pytest.mark.parametrize(("proxies", "secure"), [("10.0.0.0/8", False), ("127.0.0.0/8", True)])
def test_no_server_believes_its_own_machine_unless_the_settings_name_it(store, tmp_path, name, proxies, secure):
    """gunicorn by itself would take the word of whoever asks from there."""
    with serving(name, tmp_path / "log", TRUSTED_PROXIES=proxies) as port:
        page = get(port, "/login", Accept="text/html", X_Forwarded_Proto="https")

    assert ("; Secure" in page.headers["Set-Cookie"]) == secure
