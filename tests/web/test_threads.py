"""Threads that all wait for PostgreSQL: who waits for one, for how long, and who does not need one."""

import json
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from models.database import transaction
from models.tokens import issue_access_token
from tests.onloop import PATIENCE_SECONDS, OnLoop, body_message, scope_of
from web import behind
from web.app import create_app
from web.standing import standing_copy

THREADS = 2
# Long beside what an answer takes here, short beside the statement's own time-out.
WAIT_SECONDS = 1.0
UNITS = b'{"quantity":1}'


@pytest.fixture
def loop(store, change_settings, monkeypatch):
    change_settings(WEB_THREADS=str(THREADS))
    monkeypatch.setattr(behind, "THREAD_SECONDS_MAX", WAIT_SECONDS)
    assert standing_copy().renew()
    with OnLoop(create_app()) as on_loop:
        yield on_loop


@contextmanager
def products_locked():
    """Every statement about products waits until the block is over."""
    with transaction() as session:
        session.execute(text("LOCK TABLE products IN ACCESS EXCLUSIVE MODE"))
        yield


def environ_of(method, path, query="", **headers):
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "shop.test",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.url_scheme": "http",
    } | headers


def begin(loop, environ, body=b""):
    return loop.begin(scope_of(environ), body_message(body))


def told(future):
    head, *pieces = future.result(PATIENCE_SECONDS)
    said = json.loads(b"".join(piece["body"] for piece in pieces))
    return head["status"], said.get("code"), dict(head["headers"])


def pages(loop, count):
    """Pages that are asked for and need products, each another one."""
    return [begin(loop, environ_of("GET", "/api/products", f"limit={number + 1}")) for number in range(count)]


def units(loop, sale):
    headers = {
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(UNITS)),
        "HTTP_AUTHORIZATION": f"Bearer {issue_access_token(7, 'customer')}",
    }
    return begin(loop, environ_of("POST", f"/api/flash-sales/{sale.id}/purchases", **headers), UNITS)


def test_whoever_finds_no_thread_is_told_so_in_time_and_whoever_has_one_is_answered(loop):
    with products_locked():
        served = pages(loop, THREADS)
        late = pages(loop, 3)
        answers = [told(each) for each in late]
        assert not any(each.done() for each in served)

    assert [(status, code) for status, code, _ in answers] == [(503, "BUSY")] * 3
    assert all(int(headers[b"retry-after"]) >= 1 and headers[b"x-request-id"] for *_, headers in answers)
    assert [told(each)[0] for each in served] == [200] * THREADS
    # A place that was waited for in vain is nobody's: all threads are there again.
    assert [told(each)[0] for each in pages(loop, 4 * THREADS)] == [200] * 4 * THREADS


def test_a_thread_that_is_free_in_time_is_taken(loop):
    with products_locked():
        asked = pages(loop, 2 * THREADS)
        time.sleep(WAIT_SECONDS / 4)

    assert [told(each)[0] for each in asked] == [200] * 2 * THREADS


def test_the_pulse_is_felt_while_all_threads_wait(loop):
    with products_locked():
        asked = pages(loop, THREADS + 1)
        status, *_ = told(begin(loop, environ_of("GET", "/healthz")))
        assert status == 200
        assert not any(each.done() for each in asked)
    for each in asked:
        told(each)


@pytest.mark.parametrize("by", ["the shared connection", "connections in threads"])
def test_units_are_let_in_while_all_threads_wait(loop, make_sale, waiting, monkeypatch, by):
    """Where Redis is a cluster, or spoken to by TLS, the gate is asked in threads: of its own."""
    monkeypatch.setattr(loop.front._trips, "_is_plain", by == "the shared connection")
    sale = make_sale()
    with products_locked():
        asked = pages(loop, THREADS)
        status, *_ = told(units(loop, sale))
        assert status == 202
        assert not any(each.done() for each in asked)
    for each in asked:
        told(each)
    assert waiting(sale.id) == 1
