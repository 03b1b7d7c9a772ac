"""The course of a soak: servers and a shop of its own, the load beside the probe, and both gone at the end."""

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from models.settings import settings
from ops.boot import loopback_url
from ops.buyers import demo_admin_token, demo_database, make_buyers
from ops.errors import OpsError
from ops.launch import raise_open_files
from ops.processes import MIGRATE, SEED
from ops.rush.shop import Shop
from ops.soak.load import Load
from ops.soak.probe import Probe, Samples
from ops.throwaway import embedded_postgres, embedded_valkey
from ops.throwaway_shop import ThrowawayShop, throwaway_shop

BUYERS = 2_000
CONNECTIONS = 64
JOB_SECONDS_MAX = 120
# About two hundred samples, whatever the length; more often than this would be load of its own.
SAMPLES = 200
SAMPLES_MIN = 24
SAMPLE_SECONDS_MIN = 0.5
SAMPLE_SECONDS_MAX = 15.0
STOP_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class Soaked:
    """What a soak measured and what its load did."""

    samples: Samples
    done: Counter[str]
    troubles: Counter[str]
    seconds: float
    disagreements: tuple[int, ...]


def soak(seconds: float, *, also: Mapping[str, int] | None = None, say: Callable[[str], None] = print) -> Soaked:
    """Run a whole shop under steady load for so many seconds; `also` names other processes to watch, by their ids.

    Takes over this process's settings. Raises OpsError where the shop does not come up.
    """
    raise_open_files()
    with _stack() as (shop, postgres_pid, redis_pid):
        watched = {name: shop.pid(name) for name in shop.names}
        watched |= {"postgres": postgres_pid, "redis": redis_pid} | dict(also or {})
        known = settings()
        probe = Probe(watched, known.psycopg_url, known.redis_url)
        try:
            return asyncio.run(_run(shop, probe, seconds, say))
        finally:
            probe.close()


@contextmanager
def _stack() -> Iterator[tuple[ThrowawayShop, int, int]]:
    with ExitStack() as cleanup:
        postgres = cleanup.enter_context(embedded_postgres())
        valkey = cleanup.enter_context(embedded_valkey())
        logs = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="doorbuster-soak-")))
        before = dict(os.environ)
        cleanup.callback(_give_back, before)
        os.environ |= {
            "ENVIRONMENT": "demo",
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "BROKER_URL": "",
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
            "RATE_LIMIT_EXEMPT": "127.0.0.0/8",
            "LOG_LEVEL": "WARNING",
        }
        settings.cache_clear()
        for job in (MIGRATE, SEED):
            _do(job.command(1))
        shop = cleanup.enter_context(throwaway_shop(logs))
        if postgres.pid is None or valkey.pid is None:
            raise OpsError("a server ended as soon as it had begun")
        yield shop, postgres.pid, valkey.pid


def _give_back(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)
    settings.cache_clear()


def _do(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, timeout=JOB_SECONDS_MAX
    )
    if done.returncode != 0:
        raise OpsError(f"`python {' '.join(arguments)}` failed: {done.stderr.strip().splitlines()[-1:]}")


async def _run(shop: ThrowawayShop, probe: Probe, seconds: float, say: Callable[[str], None]) -> Soaked:
    known = settings()
    with demo_database(known) as database:
        buyers = make_buyers(database, BUYERS)
        lifetime = timedelta(seconds=seconds) + timedelta(hours=1)
        admin_token = demo_admin_token(database, lifetime)
    samples, stop = Samples(), asyncio.Event()
    live_url = f"{loopback_url('127.0.0.1', shop.live_port, scheme='ws')}/ws"
    async with Shop(shop.url, connections=CONNECTIONS) as client:
        load = Load(client, live_url, admin_token, buyers)
        working = asyncio.create_task(load.run(stop))
        began = time.monotonic()
        try:
            await _watch(probe, samples, working, seconds, say)
        finally:
            stop.set()
            _, late = await asyncio.wait([working], timeout=STOP_SECONDS_MAX)
            if late:
                working.cancel()
        await working
        took = time.monotonic() - began
        disagreements = await _recount(client, admin_token)
    return Soaked(samples, load.done, load.troubles, took, disagreements)


async def _watch(
    probe: Probe, samples: Samples, working: "asyncio.Task[None]", seconds: float, say: Callable[[str], None]
) -> None:
    """Sample until the time is up, or the load has ended by itself, which is an error of its own.

    A machine so busy that a sample takes seconds is given longer, up to five times as long.
    """
    pause = min(SAMPLE_SECONDS_MAX, max(SAMPLE_SECONDS_MIN, seconds / SAMPLES))
    end, told = time.monotonic() + seconds, time.monotonic()
    patience = end + 4 * seconds

    def goes_on() -> bool:
        enough = time.monotonic() >= end and len(samples.at_seconds) >= SAMPLES_MIN
        return not (enough or working.done() or time.monotonic() >= patience)

    while goes_on():
        await asyncio.to_thread(probe.look, samples)
        if time.monotonic() - told > max(10.0, seconds / 20):
            told = time.monotonic()
            say(f"{max(0.0, end - told):.0f} s to go: {samples.settled[-1]:,} requests settled")
        await asyncio.sleep(pause)


async def _recount(client: Shop, admin_token: str) -> tuple[int, ...]:
    """The sales whose books do not agree at the end, once their lines are empty."""
    wrong = []
    with psycopg.connect(settings().psycopg_url, connect_timeout=5) as database:
        sale_ids = [int(row[0]) for row in database.execute("SELECT id FROM flash_sales ORDER BY id")]
    for sale_id in sale_ids:
        answer = await client.ask("GET", f"/api/flash-sales/{sale_id}/audit", token=admin_token)
        if not answer.data.get("agrees"):
            wrong.append(sale_id)
    return tuple(wrong)
