"""The baselines' processes: their web server, at the number of threads that suits each best, and the Celery worker."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.baselines.shop import POOL_MARK, BaselineShop
from bench.buyers import BuyersFile
from bench.load import Traffic, pour
from bench.progress import say
from bench.servers import Server, granian
from bench.sizes import is_quick
from bench.stack import Running, Stack, started
from ops.processes import Process

APP = "bench.baselines.app:app"
WORKERS = 2
# Fewer threads wait less for each other on a hot row; more of them keep PostgreSQL busy.
THREADS = (4,) if is_quick() else (2, 4, 8, 16)
TRY_SECONDS = 2
STOCK = 10_000_000
BODY = '{"quantity":1,"userId":@USER@}'


@contextmanager
def baseline_server(stack: Stack, threads: int) -> Iterator[Server]:
    """Granian with the shop's number of processes, and a connection for every thread."""
    os.environ[POOL_MARK] = str(threads)
    with granian(stack, APP, workers=WORKERS, threads=threads) as server:
        yield server


def best_threads(stack: Stack, shop: BaselineShop, way: str, buyers: BuyersFile, connections: int) -> int:
    """The number of threads a process at which a way sells most."""
    rates = {}
    for threads in THREADS:
        with baseline_server(stack, threads) as server:
            traffic = Traffic(server.url, (f"/{way}/{shop.new_sale(STOCK)}",), body=BODY, connections=connections)
            pour(traffic, 1, buyers)
            rates[threads] = pour(traffic, TRY_SECONDS, buyers).rate
    best = max(rates, key=lambda threads: rates[threads])
    say(f"{way}: best with {best} threads of " + ", ".join(f"{n} ({rate:,.0f}/s)" for n, rate in rates.items()))
    return best


@contextmanager
def celery_worker(stack: Stack) -> Iterator[Running]:
    """One prefork process that takes one task after another."""
    options = ("--pool", "prefork", "--concurrency", "1", "--without-gossip", "--without-mingle", "--without-heartbeat")
    argv = ("-m", "celery", "--app", "bench.baselines.tasks", "worker", *options, "--loglevel", "WARNING")
    with started(stack, Process(name="naive-celery", argv=argv, grace_seconds=5)) as running:
        yield running
