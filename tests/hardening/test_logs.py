"""A shop that sells, refuses, fails and is abused writes no secret into any of its logs, however much it is to say."""

import json
import logging
import re
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import websocket

from models.accounts import create_account
from models.database import engine
from models.settings import settings
from models.user import Role
from ops.throwaway_shop import throwaway_shop
from tests.desk.conftest import HTML

ROOT = Path(__file__).parents[2]
BUYERS = 30


class Caller:
    """Calls the shop, and remembers every secret that went one way or the other."""

    def __init__(self, shop):
        self.shop = shop
        self.secrets = {"the password of the shop's own accounts": f"pass-{secrets.token_hex(8)}"}
        self.request_ids = []

    @property
    def password(self):
        return self.secrets["the password of the shop's own accounts"]

    def call(self, method, path, body=None, *, live=False, **headers):
        """Status, headers and text; None where there is no answer."""
        request_id = f"request-{secrets.token_hex(6)}"
        base = f"http://127.0.0.1:{self.shop.live_port}" if live else self.shop.url
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", "X-Request-Id": request_id}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(base + path, data, sent, method=method)  # noqa: S310 - our own address
        try:
            with urllib.request.build_opener(Stay).open(request, timeout=90) as answer:
                found = answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            found = error.code, error.headers, error.read().decode()
            error.close()
        except OSError:
            return None
        self.request_ids.append(request_id)
        return found

    def keep(self, what, secret):
        self.secrets[what] = secret
        return secret


class Stay(urllib.request.HTTPRedirectHandler):
    """Goes where it is told and nowhere else."""

    def redirect_request(self, *_):
        return None


def tries_everything(caller, sale_id):
    """Every way that a secret comes in by, with success and without."""
    emails = [f"buyer{number}@shop.test" for number in range(BUYERS)]
    tokens = []
    for number, email in enumerate(emails):
        body = {"name": "Kim", "email": email, "password": caller.password}
        if number % 10 == 0:
            said = json.loads(caller.call("POST", "/api/auth/signup", body)[2])
            caller.keep(f"refresh token {number}", said["data"]["refreshToken"])
            tokens.append(caller.keep(f"access token {number}", said["data"]["accessToken"]))
    wrong = caller.keep("a wrong password", f"wrong-{secrets.token_hex(8)}")
    caller.call("POST", "/api/auth/login", {"email": emails[0], "password": wrong})
    caller.call("POST", "/api/auth/login", {"email": "no address", "password": wrong})
    caller.call("POST", "/api/auth/signup", b'{"password": "' + wrong.encode() + b'", broken')
    forged = caller.keep("a forged token", f"{tokens[0].rpartition('.')[0]}.{secrets.token_hex(20)}")
    for path in ("/api/users/me", f"/api/users/me?token={forged}", f"/account?access_token={forged}", f"/{forged}"):
        caller.call("GET", path, Authorization=f"Bearer {forged}", Cookie=f"doorbuster_access={forged}")
    caller.call("POST", "/api/auth/refresh", {"refreshToken": forged})
    for number, token in enumerate(tokens):
        for live in (False, True):
            key = caller.keep(f"Idempotency-Key {number} {live}", f"key-{secrets.token_hex(8)}")
            headers = {"Authorization": f"Bearer {token}", "Idempotency_Key": key}
            for quantity in (1, 2, -1):
                path = f"/api/flash-sales/{sale_id}/purchases"
                caller.call(
                    "POST", path, {"quantity": quantity, "groupKey": key}, live=live, Prefer="wait=5", **headers
                )
    uses_a_browser(caller, emails[0])
    opens_sockets(caller, tokens[0], sale_id)


def uses_a_browser(caller, email):
    _, headers, page = caller.call("GET", "/login", Accept=HTML["Accept"])
    proof = caller.keep("a CSRF token", re.search(r'name="csrfToken" value="([^"]+)"', page)[1])
    form = urlencode({"email": email, "password": caller.password, "csrfToken": proof}).encode()
    _, headers, _ = caller.call(
        "POST",
        "/session/login",
        form,
        Content_Type="application/x-www-form-urlencoded",
        Cookie=f"doorbuster_csrf={proof}",
        Accept=HTML["Accept"],
    )
    for line in headers.get_all("Set-Cookie"):
        name, _, value = line.partition(";")[0].partition("=")
        caller.keep(f"the cookie {name}", value)
    caller.call("GET", "/account", Cookie=f"doorbuster_access={caller.secrets['the cookie doorbuster_access']}")


def opens_sockets(caller, token, sale_id):
    said = json.loads(caller.call("POST", "/api/ws-tickets", Authorization=f"Bearer {token}")[2])
    ticket = caller.keep("a socket's ticket", said["data"]["ticket"])
    for query in (f"?ticket={ticket}", f"?ticket={ticket}", f"?token={token}"):
        connection = websocket.create_connection(f"ws://127.0.0.1:{caller.shop.live_port}/ws{query}", timeout=60)
        connection.send(json.dumps({"event": "authenticate", "data": {"token": token}}))
        connection.send(json.dumps({"event": "joinFlashSale", "data": {"flashSaleId": str(sale_id)}}))
        connection.send("no json, but " + token)
        connection.recv()
        connection.close(timeout=2)
        connection.shutdown()


@contextmanager
def away(server):
    server.kill()
    try:
        yield
    finally:
        server.start()


def found_in(logs, secret_of):
    """The secrets that stand in the logs, each with the log that it stands in."""
    return [f"{what} in {name}" for name, text in logs.items() for what, secret in secret_of.items() if secret in text]


def logs_of(directory):
    return {path.name: path.read_text(errors="replace") for path in directory.glob("*.log")}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_no_log_of_a_shop_holds_a_secret(store, make_sale, tmp_path, monkeypatch, level):
    monkeypatch.setenv("LOG_LEVEL", level)
    monkeypatch.setenv("LOG_JSON", "true")
    known = settings()
    sale = make_sale(total_stock=3, max_per_user=1)
    with throwaway_shop(tmp_path) as shop:
        caller = Caller(shop)
        create_account("Olga", "olga@shop.test", caller.password, Role.ADMIN)
        tries_everything(caller, sale.id)
        for server in (store.postgres, store.valkey):
            with away(server):
                for _ in range(3):
                    token = caller.secrets["access token 0"]
                    caller.call("GET", "/api/users/me", Authorization=f"Bearer {token}")
                    caller.call("POST", "/api/auth/login", {"email": "olga@shop.test", "password": caller.password})
                    time.sleep(0.5)
        engine().dispose()
        shop.wait_until_ready()
    own = {
        "the password of PostgreSQL": urlsplit(known.psycopg_url).password,
        "the password of Redis": urlsplit(known.redis_url).password,
        "the key of the tokens": known.jwt_secret_key,
    }
    logs = logs_of(tmp_path)

    assert found_in(logs, caller.secrets | own) == []
    # The logs are those of what was done: every request that was answered stands in one of them, at INFO all but what
    # the gate answered.
    everything = "".join(logs.values())
    answered = [each for each in caller.request_ids if each in everything]
    assert len(answered) > (0.9 if level == "DEBUG" else 0.6) * len(caller.request_ids) > 20
    assert "dependency.away" in everything
    assert len(logs) >= 5


LOGS_A_SECRET = """
import structlog
from models import logs
if {blind}:
    logs.redact = lambda _logger, _method, event: event
logs.configure_logging()
structlog.get_logger().error("login.odd", password="{secret}", headers={{"Authorization": "Bearer {secret}"}})
"""


@pytest.mark.parametrize("blind", [False, True])
def test_a_field_that_is_named_like_a_secret_is_blanked_and_without_that_it_would_be_found(store, blind):
    secret = secrets.token_hex(8)
    program = LOGS_A_SECRET.format(secret=secret, blind=blind)

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240, check=True
    )

    assert "login.odd" in done.stderr
    assert bool(found_in({"it": done.stderr}, {"a secret": secret})) is blind


def test_an_error_of_the_database_is_logged_without_the_values_that_it_happened_to(client, make_user, caplog):
    make_user(email="kim@shop.test")
    body = {"name": "Kim", "email": "kim@shop.test", "password": f"pass-{secrets.token_hex(8)}"}

    with caplog.at_level(logging.DEBUG):
        assert client.post("/api/auth/signup", json=body).status_code == 409

    assert "$argon2id$" not in caplog.text
    assert body["password"] not in caplog.text
