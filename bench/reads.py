"""Reading what is on sale, beside the least that Flask can do with a GET; and how old an answer can be.

What a read may lag behind is measured, not believed: a sale is changed again and again while a crowd reads, and after
each commit every process is asked until it shows the change.
"""

import random
import threading
import time

from bench.client import Client
from bench.load import Load, Traffic, generator, pour
from bench.progress import rounds_of
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import new_sale
from bench.servers import BARE_APP, Server, granian
from bench.sizes import size
from bench.stack import Stack, measured_stack
from models.sales import patch_sale
from ops.errors import OpsError

CONNECTIONS = 64
SECONDS = size(4, 1)
SALES = size(10, 3)
CHANGES = size(20, 3)
# Fresh connections, so that each of the web processes is asked.
READERS = 8
STOCK = 1_000
SHOWN_SECONDS_MAX = 10
PAUSE_SECONDS_MAX = 1.2

BARE, LIST, ONE = "bare Flask GET", "GET /api/flash-sales/live", "GET /api/flash-sales/{id}"


def run(rounds: int) -> Result:
    """The three in turns, and then the changes."""
    with measured_stack(
        ("live", "flower"), RATE_LIMIT_DEFAULT="10000000/minute", RATE_LIMIT_ADDRESS="10000000/minute"
    ) as stack:
        sales = [new_sale(f"Sale {number}", stock=STOCK) for number in range(SALES)]
        with granian(stack, BARE_APP, workers=stack.settings.web_workers) as bare:
            traffic = _traffic(stack, bare, sales[0])
            for each in traffic.values():
                pour(each, 1)
            found: dict[str, list[Load]] = {name: [] for name in traffic}
            for number in rounds_of(rounds, "reads"):
                for name in traffic if number % 2 else reversed(traffic):
                    found[name].append(pour(traffic[name], SECONDS).checked())
            ages = {name: _ages(traffic[name], stack, sales[0]) for name in (LIST, ONE)}
        return Result(
            title="Reading what is on sale",
            tables=_tables(found, ages),
            targets=_targets(found, ages),
            notes=_notes(stack),
            servers=stack.versions(),
        )


def _traffic(stack: Stack, bare: Server, sale_id: int) -> dict[str, Traffic]:
    paths = {BARE: (bare.url, "/bare"), LIST: (stack.web_url, "/api/flash-sales/live")}
    paths[ONE] = stack.web_url, f"/api/flash-sales/{sale_id}"
    return {
        name: Traffic(url, (path,), method="GET", body="", connections=CONNECTIONS)
        for name, (url, path) in paths.items()
    }


def _ages(traffic: Traffic, stack: Stack, sale_id: int) -> list[float]:
    """For each change, the milliseconds from its commit to the first moment at which every process shows it."""
    crowd = threading.Thread(target=pour, args=(traffic, CHANGES * (PAUSE_SECONDS_MAX / 2 + 0.5)))
    crowd.start()
    ages = []
    for number in range(1, CHANGES + 1):
        # At any point of whatever period a copy has.
        time.sleep(random.uniform(0, PAUSE_SECONDS_MAX))
        stock = _stock_shown(traffic, sale_id)[0] + number
        patch_sale(sale_id, {"total_stock": stock}, actor_id=None)
        committed_at = time.monotonic()
        while _stock_shown(traffic, sale_id) != [stock] * READERS:
            if time.monotonic() - committed_at > SHOWN_SECONDS_MAX:
                raise OpsError(f"a change is not shown after {SHOWN_SECONDS_MAX} s")
        ages.append((time.monotonic() - committed_at) * 1000)
    crowd.join()
    return ages


def _stock_shown(traffic: Traffic, sale_id: int) -> list[int]:
    """The stock of the sale as each of some fresh connections sees it."""
    shown = []
    for _ in range(READERS):
        with Client(traffic.url) as client:
            data = client.ask("GET", traffic.paths[0], expected=200).body["data"]
        found = data if isinstance(data, list) else [data]
        shown += [sale["totalStock"] for sale in found if sale["id"] == str(sale_id)]
    return shown


def _tables(found: dict[str, list[Load]], ages: dict[str, list[float]]) -> list[Table]:
    return [
        Table(
            f"{CONNECTIONS} connections",
            "requests a second",
            [Row(name, tuple(load.rate for load in loads)) for name, loads in found.items()],
        ),
        Table(
            "from a commit to the moment when every process shows it",
            "milliseconds",
            [Row(name, tuple(values)) for name, values in ages.items()],
        ),
    ]


def _targets(found: dict[str, list[Load]], ages: dict[str, list[float]]) -> list[Target]:
    median = {name: Row(name, tuple(load.rate for load in loads)).median for name, loads in found.items()}
    return [
        *(Target(f"{name}, of bare Flask's rate", median[name] / median[BARE], at_least=0.7) for name in (LIST, ONE)),
        *(Target(f"{name}: the oldest, in milliseconds", max(ages[name]), at_most=1000) for name in (LIST, ONE)),
    ]


def _notes(stack: Stack) -> tuple[str, ...]:
    return (
        f"ours: web {stack.settings.web_workers} processes of one event loop each, which hands out what it keeps",
        f"bare Flask: granian with {stack.settings.web_workers} processes of {stack.settings.web_threads} threads",
        f"load: {generator()}, {CONNECTIONS} connections, {SECONDS} s a round; {SALES} sales are live",
        "all limits count every request; they are set high enough for one address to read this fast",
        f"age: {CHANGES} changes of a sale while the crowd reads, at any point of whatever period a copy has",
        f"after each, {READERS} fresh connections are asked until all show it: what asking takes is in the figure",
    )


BENCHMARK = Benchmark("reads", "what is on sale, beside a bare Flask GET", run, minutes=2.5)
