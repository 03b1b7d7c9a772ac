"""Degraded, not down: what goes on, and what is refused cleanly, while a part is away. Real processes, over HTTP."""

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
import psycopg
import pytest

from models import rediskeys
from models.clock import now, to_iso
from models.tokens import issue_access_token
from models.user import Role
from ops.buyers import Buyer, make_buyers
from tests.faults.course import ADMIN
from tests.faults.stack import WEBS, WORKERS, Stack

# The first test of a file also starts ten processes.
pytestmark = pytest.mark.timeout(1500)

# "At once" on a machine that does other things too: far below any wait for an answer that will not come.
AT_ONCE_SECONDS = 30
EVENTUALLY_SECONDS = 240


@dataclass(frozen=True)
class Answer:
    status: int
    code: str
    data: Any
    retry_after: str | None
    seconds: float


def ask(url: str, method: str = "GET", token: str = "", body: dict[str, Any] | None = None) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Content-Type": "application/json"} if body is not None else {}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - our own addresses
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            found, status, retry_after = response.read(), response.status, response.headers.get("Retry-After")
    except urllib.error.HTTPError as refusal:
        found, status, retry_after = refusal.read(), refusal.code, refusal.headers.get("Retry-After")
    try:
        read = json.loads(found)
    except ValueError:
        read = {}
    return Answer(status, read.get("code", ""), read.get("data"), retry_after, time.monotonic() - started)


def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + EVENTUALLY_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {EVENTUALLY_SECONDS} s: {what}"
        time.sleep(0.1)


class Shop:
    """A sale of its own on the stack, with buyers."""

    def __init__(self, stack: Stack, buyers: list[Buyer], admin_token: str) -> None:
        self.url = stack.web_urls[0]
        self.buyers = iter(buyers)
        name = f"Degraded {secrets.token_hex(4)}"
        product = ask(f"{self.url}/api/products", "POST", admin_token, {"name": name, "price": "9.99"})
        body = {
            "productId": product.data["id"],
            "title": name,
            "flashPrice": "4.99",
            "totalStock": 50,
            "startTime": to_iso(now() - timedelta(seconds=1)),
        }
        self.product_id = product.data["id"]
        self.sale_id = ask(f"{self.url}/api/flash-sales", "POST", admin_token, body).data["id"]

    def buy(self) -> tuple[Answer, Buyer]:
        buyer = next(self.buyers)
        path = f"{self.url}/api/flash-sales/{self.sale_id}/purchases"
        return ask(path, "POST", buyer.token, {"quantity": 1}), buyer

    def outcome(self, bought: tuple[Answer, Buyer]) -> str:
        answer, buyer = bought
        found = ask(f"{self.url}/api/purchases/{answer.data['purchaseId']}", token=buyer.token)
        return str(found.data["status"]) if found.status == 200 else ""

    def checks(self) -> dict[str, str]:
        answer = ask(f"{self.url}/readyz")
        return dict(answer.data["checks"])


@pytest.fixture
def shop(stack: Stack) -> Shop:
    stack.wait_until_ready()
    with stack.sql(autocommit=True) as connection:
        admin = connection.execute(ADMIN, (f"{secrets.token_hex(6)}@operators.example",)).fetchone()
    with psycopg.connect(stack.postgres.url, autocommit=True) as connection:
        buyers = make_buyers(connection, 20)
    return Shop(stack, buyers, issue_access_token(int(str(admin and admin["id"])), Role.ADMIN))


@contextmanager
def stopped(stack: Stack, *programs: str) -> Iterator[None]:
    found = [stack.process(program) for program in programs]
    family = [process for main in found if main for process in (main, *main.children(recursive=True))]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


def frozen_postgres(stack: Stack) -> list[psutil.Process]:
    main = psutil.Process(stack.postgres.pid)
    return [main, *main.children(recursive=True)]


def test_without_postgres_requests_are_admitted_and_their_outcomes_come_later(shop, stack):
    stack.postgres.kill()
    try:
        bought = [shop.buy() for _ in range(3)]
    finally:
        stack.revive()

    assert [answer.status for answer, _ in bought] == [202, 202, 202]
    assert [answer.data["position"] for answer, _ in bought] == [0, 1, 2]
    eventually(lambda: all(shop.outcome(each) == "confirmed" for each in bought), "the outcomes came")


def test_a_postgres_that_says_nothing_keeps_nobody_from_the_line(shop, stack):
    """It takes every connection and answers none: those who read it wait for a bounded while, and then are told."""
    frozen = frozen_postgres(stack)
    for process in frozen:
        process.suspend()
    try:
        read = ask(f"{shop.url}/api/products")
        bought = shop.buy()
    finally:
        for process in frozen:
            process.resume()

    assert (read.status, read.code) == (503, "UNAVAILABLE")
    assert bought[0].status == 202
    eventually(lambda: shop.outcome(bought) == "confirmed", "the outcome came")


def test_without_redis_buying_is_refused_at_once_and_reading_goes_on(shop, stack):
    stack.redis.kill()
    try:
        refused, buyer = shop.buy()
        read = [
            ask(f"{shop.url}{path}")
            for path in ("/", f"/api/flash-sales/{shop.sale_id}", f"/api/products/{shop.product_id}")
        ]
        mine = ask(f"{shop.url}/api/users/me/purchases", token=buyer.token)
        checks = shop.checks()
    finally:
        stack.revive()

    assert refused.status == 503
    assert int(refused.retry_after or 0) >= 1
    assert refused.seconds < AT_ONCE_SECONDS
    assert [answer.status for answer in (*read, mine)] == [200, 200, 200, 200]
    assert checks["redis"] == "down"


@pytest.mark.parametrize(
    ("refusing", "again"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    ],
    ids=["out of memory", "read-only", "without its replicas"],
)
def test_a_redis_that_takes_nothing_refuses_buyers_cleanly_and_lets_them_read(shop, stack, refusing, again):
    with stack.keys() as client:
        client.execute_command(*refusing)
        try:
            bought = shop.buy()
            read = ask(f"{shop.url}/api/flash-sales/{shop.sale_id}")
        finally:
            client.execute_command(*again)

    assert bought[0].status == 503
    assert int(bought[0].retry_after or 0) >= 1
    assert read.status == 200
    eventually(lambda: shop.buy()[0].status == 202, "buyers are admitted again")
    with stack.keys() as client:
        client.delete(*client.scan_iter(rediskeys.WORKER_HEARTBEAT_PATTERN), "none")
    eventually(lambda: shop.checks()["settleWorker"] == "up", "workers still say that they are alive")


def test_without_workers_requests_wait_in_line_at_honest_positions_and_readyz_says_so(shop, stack):
    with stopped(stack, *WORKERS):
        bought = [shop.buy() for _ in range(3)]
        eventually(lambda: shop.checks()["settleWorker"] != "up", "readyz tells of silent workers")
        silent = ask(f"{shop.url}/readyz")

    assert [answer.data["position"] for answer, _ in bought] == [0, 1, 2]
    assert silent.status == 503
    eventually(lambda: all(shop.outcome(each) == "confirmed" for each in bought), "the outcomes came")
    eventually(lambda: shop.checks()["settleWorker"] == "up", "readyz tells of workers")


def test_without_a_broker_requests_are_admitted_and_settled_as_soon_as_somebody_wakes_the_sale(shop, stack):
    """The broker is away for web alone: the sweeper, which still reaches it, finds the line."""
    lines = [stack.line(web, "broker") for web in WEBS]
    for line in lines:
        line.refuse()
    try:
        bought = shop.buy()
        assert bought[0].status == 202
        eventually(lambda: shop.outcome(bought) == "confirmed", "the sweeper found the line")
    finally:
        for line in lines:
            line.mend()


def test_without_a_broker_for_anybody_requests_are_admitted_and_wait(shop, stack):
    lines = [stack.line(program, "broker") for program in stack.programs]
    for line in lines:
        line.refuse()
    try:
        bought = [shop.buy() for _ in range(3)]
        waiting = [shop.outcome(each) for each in bought]
    finally:
        for line in lines:
            line.mend()

    assert [answer.status for answer, _ in bought] == [202, 202, 202]
    assert waiting == ["queued", "queued", "queued"]
    eventually(lambda: all(shop.outcome(each) == "confirmed" for each in bought), "the outcomes came")
