"""How long one buyer waits for the outcome when nobody else is there, beside the least that the server can do.

Without a crowd there is nothing to batch: what shows is the price of the way itself, gate, wake-up, worker,
transaction and news, against a bare Flask answer from the same server with the same settings.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import psycopg

from bench.client import Client
from bench.progress import rounds_of
from bench.result import Benchmark, Result, Row, Table
from bench.servers import BARE_APP, granian
from bench.sizes import size
from bench.stack import Stack, measured_stack
from models.clock import now, to_iso
from ops.buyers import demo_admin_token, make_buyers
from ops.demo import FLASH_PRICE, PRICE
from ops.errors import OpsError

REQUESTS_PER_ROUND = size(40, 2)
WARM_UP_REQUESTS = size(40, 2)
WAIT_SECONDS = 5
LOOKS_MAX = 10
# One buyer at a time: what follows an outcome (trimming, the news) is over before the next one comes.
PAUSE_SECONDS = 0.01
ADMIN_TOKEN_LIFETIME = timedelta(minutes=15)

# Buys one unit, or does what it is compared with, and returns the seconds that it took.
Way = Callable[[], float]


def run(rounds: int) -> Result:
    """Measure all ways in turns, in a new order every time; each round's figure is its median."""
    with measured_stack() as stack, _ways(stack, rounds) as ways:
        for _ in range(WARM_UP_REQUESTS):
            _once(ways)
        measured: dict[str, list[float]] = {name: [] for name in ways}
        for _ in rounds_of(rounds, "light load"):
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(REQUESTS_PER_ROUND):
                for name, seconds in _once(ways).items():
                    times[name].append(seconds)
            for name, values in times.items():
                measured[name].append(statistics.median(values) * 1000)
        return Result(
            title="Time to outcome at light load",
            tables=[Table("", "milliseconds", [Row(name, tuple(values)) for name, values in measured.items()])],
            notes=_notes(stack),
            servers=stack.versions(),
        )


def _notes(stack: Stack) -> tuple[str, ...]:
    known = stack.settings
    return (
        f"{REQUESTS_PER_ROUND} requests of each kind in a round, one at a time over kept connections, in turns",
        f"web: {known.web_workers} processes of one event loop each; settling: {known.settle_workers} Celery worker",
        f"bare Flask: granian with {known.web_workers} processes of {known.web_threads} threads each",
        "every buyer is a different one and is let in by the usual checks: token, rate limits, strict body",
        "the request was on Redis's disk before its 202, and the outcome is committed in PostgreSQL before it is told",
    )


def _once(ways: dict[str, Way]) -> dict[str, float]:
    """Every way once, in any order; keeps the order of the table."""
    found = {}
    for name in random.sample(list(ways), len(ways)):
        time.sleep(PAUSE_SECONDS)
        found[name] = ways[name]()
    return {name: found[name] for name in ways}


@contextmanager
def _ways(stack: Stack, rounds: int) -> Iterator[dict[str, Way]]:
    """All that is compared, the baseline first."""
    with ExitStack() as cleanup:
        server = cleanup.enter_context(granian(stack, BARE_APP, workers=stack.settings.web_workers))
        bare = cleanup.enter_context(Client(server.url))
        web = cleanup.enter_context(Client(stack.web_url))
        shop = _Shop(stack, web, requests=(rounds * REQUESTS_PER_ROUND + WARM_UP_REQUESTS) * 2)
        yield {
            "bare Flask POST": lambda: bare.ask("POST", "/bare", {"quantity": 1}, expected=200).seconds,
            "POST with Prefer: wait": shop.buy,
            "POST, then long poll": shop.buy_and_ask,
        }


class _Shop:
    """A sale with units for everybody, and buyers who each come once."""

    def __init__(self, stack: Stack, web: Client, *, requests: int) -> None:
        with psycopg.connect(stack.settings.psycopg_url, autocommit=True) as database:
            admin = demo_admin_token(database, ADMIN_TOKEN_LIFETIME)
            self._tokens = iter([buyer.token for buyer in make_buyers(database, requests)])
        bearer = {"Authorization": f"Bearer {admin}"}
        product = web.ask("POST", "/api/products", {"name": "Bench", "price": str(PRICE)}, expected=201, **bearer)
        sale = {
            "productId": product.body["data"]["id"],
            "title": "Bench",
            "flashPrice": str(FLASH_PRICE),
            "totalStock": requests,
            "startTime": to_iso(now()),
        }
        made = web.ask("POST", "/api/flash-sales", sale, expected=201, **bearer)
        self._web = web
        self._path = f"/api/flash-sales/{made.body['data']['id']}/purchases"

    def buy(self) -> float:
        """One request that waits for its outcome."""
        headers = {**self._next_buyer(), "Prefer": f"wait={WAIT_SECONDS}"}
        return self._web.ask("POST", self._path, {"quantity": 1}, expected=201, **headers).seconds

    def buy_and_ask(self) -> float:
        """One request that is answered at once, and a second one that waits for the outcome."""
        buyer = self._next_buyer()
        started_at = time.perf_counter()
        accepted = self._web.ask("POST", self._path, {"quantity": 1}, expected=202, **buyer)
        path = f"/api/purchases/{accepted.body['data']['purchaseId']}?wait={WAIT_SECONDS}"
        for _ in range(LOOKS_MAX):
            status = self._web.ask("GET", path, expected=200, **buyer).body["data"]["status"]
            if status == "confirmed":
                return time.perf_counter() - started_at
            if status != "queued":
                break
        raise OpsError(f"{path} is {status}, although there are units for everybody")

    def _next_buyer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {next(self._tokens)}"}


BENCHMARK = Benchmark("light_load", "time to outcome for one buyer at a time, beside a bare Flask POST", run)
