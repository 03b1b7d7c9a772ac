"""How many buyers a second know their outcome, when 32 and 256 of them buy and wait for it, and come again.

Beside the variant that answers at once because it asks PostgreSQL while the buyer waits, and beside a naive queue.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from bench.baselines.servers import BODY, STOCK, baseline_server, best_threads, celery_worker
from bench.baselines.shop import BaselineShop, baseline_shop
from bench.buyers import BEHIND_A_PROXY, BuyersFile, new_buyers
from bench.load import Traffic, generator, pour
from bench.progress import rounds_of
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import exactness, new_sale, wait_until_line_is_empty
from bench.servers import Server
from bench.sizes import size
from bench.stack import Stack, measured_stack
from bench.visits import Crowd, visit_in_turns

VISITORS = (size(32, 8), size(256, 16))
SECONDS = size(3, 4)
BUYERS = size(60_000, 500)
# Who listens on a socket stays the same buyer, and buys more often than anybody may.
LIMITS = {"RATE_LIMIT_PURCHASE": "1000000/minute"}

ONE, PREFER = "one statement", "Prefer: wait"
ONE_BY_CROWD, LONG_POLL, SOCKET, NAIVE = "one statement, crowd", "long poll", "WebSocket", "naive Celery, polled"
BY_WRK, BY_CROWD = (ONE, PREFER), (ONE_BY_CROWD, LONG_POLL, SOCKET, NAIVE)
# At least so much of one statement's rate, and so many times naive Celery's.
OF_ONE, OF_NAIVE = 0.8, 8

# Takes the number of visitors and returns how many were answered a second.
Way = Callable[[int], float]


def run(rounds: int) -> Result:
    """Every way with each number of visitors, in turns."""
    with measured_stack(("flower",), **BEHIND_A_PROXY, **LIMITS) as stack, baseline_shop(stack) as shop:
        buyers = new_buyers(stack, BUYERS)
        sale_id, baseline_sale, naive_sale = new_sale("Answered"), shop.new_sale(STOCK), shop.new_sale(STOCK)
        threads = best_threads(stack, shop, "one-statement", buyers, VISITORS[0])
        with _ways(stack, threads, buyers, (sale_id, baseline_sale, naive_sale)) as ways:
            for way in ways.values():
                way(VISITORS[0])
            rates: dict[tuple[str, int], list[float]] = {}
            for number in rounds_of(rounds, "answered"):
                for visitors in VISITORS:
                    for name in ways if number % 2 else reversed(ways):
                        rates.setdefault((name, visitors), []).append(ways[name](visitors))
        wait_until_line_is_empty(sale_id)
        return Result(
            title="Buyers who wait for their outcome",
            tables=[_table(rates, names, visitors) for visitors in VISITORS for names in (BY_WRK, BY_CROWD)],
            targets=_targets(rates),
            notes=(*_notes(stack, threads), *_counted(shop, sale_id, baseline_sale, naive_sale)),
            servers=stack.versions(),
        )


@contextmanager
def _ways(stack: Stack, threads: int, buyers: BuyersFile, sales: tuple[int, int, int]) -> Iterator[dict[str, Way]]:
    sale_id, baseline_sale, naive_sale = sales
    with ExitStack() as cleanup:
        server: Server = cleanup.enter_context(baseline_server(stack, threads))
        cleanup.enter_context(celery_worker(stack))
        crowd = Crowd(buyers)
        path = f"/api/flash-sales/{sale_id}/purchases"
        one = f"/one-statement/{baseline_sale}"
        places = {
            ONE_BY_CROWD: crowd.post(server.url + one),
            LONG_POLL: crowd.post_and_long_poll(stack.web_url + path, f"{stack.live_url}/api/purchases"),
            SOCKET: crowd.post_and_listen(stack.web_url + path, stack.live_url.replace("http", "ws", 1) + "/ws"),
            NAIVE: crowd.post_and_poll(f"{server.url}/celery/{naive_sale}", f"{server.url}/celery"),
        }

        def by_wrk(url: str, path: str, **more: object) -> Way:
            def way(visitors: int) -> float:
                traffic = Traffic(url, (path,), connections=visitors, **more)  # type: ignore[arg-type]
                return pour(traffic, SECONDS, buyers).checked().rate

            return way

        def by_crowd(name: str) -> Way:
            return lambda visitors: visit_in_turns(places[name], visitors, SECONDS).rate

        yield {
            ONE: by_wrk(server.url, one, body=BODY),
            PREFER: by_wrk(stack.live_url, path, headers={"Prefer": "wait=10"}),
            **{name: by_crowd(name) for name in BY_CROWD},
        }


def _table(rates: dict[tuple[str, int], list[float]], names: tuple[str, ...], visitors: int) -> Table:
    rows = [Row(name, tuple(rates[name, visitors])) for name in names]
    return Table(f"{visitors} buyers, {'wrk' if names is BY_WRK else 'a crowd on aiohttp'}", "outcomes a second", rows)


def _targets(rates: dict[tuple[str, int], list[float]]) -> list[Target]:
    targets = []
    for visitors in VISITORS:
        median = {name: Row(name, tuple(found)).median for (name, count), found in rates.items() if count == visitors}
        for name, one in ((PREFER, ONE), (LONG_POLL, ONE_BY_CROWD), (SOCKET, ONE_BY_CROWD)):
            of_one, of_naive = median[name] / median[one], median[name] / median[NAIVE]
            targets += [
                Target(f"{visitors} buyers, {name}, of one statement", of_one, at_least=OF_ONE),
                Target(f"{visitors} buyers, {name}, of naive Celery", of_naive, at_least=OF_NAIVE),
            ]
    return targets


def _notes(stack: Stack, threads: int) -> tuple[str, ...]:
    return (
        f"load: {generator()}; and a crowd on aiohttp, one process, where a buyer does more than one request",
        f"{SECONDS} s a round; every request is another buyer's, and a buyer comes again when the outcome is known",
        f"ours: web {stack.settings.web_workers} processes, live {stack.settings.live_workers}, one worker",
        "Prefer: wait is sent to live, as the proxy does",
        f"one statement: a CTE, autocommit, psycopg's pool, granian with 2 processes of {threads} threads (their best)",
        "naive Celery: a task and a transaction a purchase, prefork with one process, polled every 50 ms",
        "ours verifies a token and counts limits; the others ask nobody who they are",
    )


def _counted(shop: BaselineShop, sale_id: int, baseline_sale: int, naive_sale: int) -> list[str]:
    return [
        f"counted: {exactness(sale_id)}",
        f"counted, one statement: {shop.count(baseline_sale)}",
        f"counted, naive Celery: {shop.count(naive_sale)}",
    ]


BENCHMARK = Benchmark("answered", "buyers who wait for their outcome, beside one statement and naive Celery", run, 4.5)
