"""The load: wrk where it is there, so that the generator is not what is measured, and a crowd of ours where it is not.

Both send the same requests: every one is another buyer's.
"""

import asyncio
import itertools
import os
import shutil
import statistics
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from bench.buyers import BuyersFile
from ops.errors import OpsError

SCRIPT = Path(__file__).with_name("requests.lua")
ANSWER_SECONDS_MAX = 30
# Over the time that it was told to take.
GRACE_SECONDS = 30
# The share of answers that may be a timeout on a machine that does something else for a moment.
STRAYS_MAX = 0.01


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent, and where. `@USER@` in the body is the buyer's number; `paths` come in turns."""

    url: str
    paths: tuple[str, ...]
    method: str = "POST"
    body: str = '{"quantity":1}'
    headers: dict[str, str] = field(default_factory=dict)
    connections: int = 64

    def all_headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json"} | self.headers if self.body else dict(self.headers)


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it. Times are milliseconds from the first byte sent to the last one read."""

    answered: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def good(self) -> int:
        """Answers that were no refusals."""
        return self.answered - self.refused

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds

    def checked(self) -> "Load":
        """Itself; raises OpsError where more than a stray answer was no 2xx: what is counted must be what was meant."""
        if self.refused + self.broken > self.answered * STRAYS_MAX or not self.answered:
            raise OpsError(f"of {self.answered} answers {self.refused} were refusals, and {self.broken} never came")
        return self


@dataclass(frozen=True, slots=True)
class Rush:
    """A bounded number of requests, and when each kind of answer was last seen (seconds since the epoch)."""

    began_at: float
    statuses: dict[int, tuple[int, float]]

    def checked(self, *expected: int) -> "Rush":
        """Itself; raises OpsError where more than a stray answer was another one."""
        others = {status: count for status, (count, _) in self.statuses.items() if status not in expected}
        if sum(others.values()) > STRAYS_MAX * sum(count for count, _ in self.statuses.values()):
            raise OpsError(f"answers that nobody meant: {others}")
        return self

    def last_after(self, *statuses: int) -> float:
        """Seconds from the first request to the last answer of this kind."""
        return max(self.statuses.get(status, (0, self.began_at))[1] for status in statuses) - self.began_at


def generator() -> str:
    """What the load comes from, for the notes of a page."""
    return "wrk, one thread" if has_wrk() else "a crowd of ours on aiohttp (no wrk here), which may itself be the limit"


def pour(traffic: Traffic, seconds: float, buyers: BuyersFile | None = None) -> Load:
    """Send as fast as answers come, for so long; raises OpsError where the generator itself fails."""
    if not has_wrk():
        load = uvloop.run(_pour_with_crowd(traffic, seconds, buyers))
    else:
        found = run_wrk(traffic, seconds, buyers)
        load = Load(found["answered"], found["seconds"], found["refused"], found["broken"], found["p50"], found["p99"])
    if buyers:
        buyers.pass_by(load.answered + traffic.connections)
    return load


def rush(traffic: Traffic, requests: int, buyers: BuyersFile, *, seconds_max: float) -> Rush:
    """Send so many requests as fast as answers come; raises OpsError if they are not answered in time.

    A few more are on their way when the last of them is answered.
    """
    if not has_wrk():
        found = uvloop.run(_rush_with_crowd(traffic, requests, buyers, seconds_max))
    else:
        told = run_wrk(traffic, seconds_max, buyers, BENCH_STOP_AFTER=str(requests))
        if "began" not in told:
            raise OpsError(f"{requests} requests took over {seconds_max} s")
        found = Rush(told["began"], {int(status): (n, at) for status, (n, at) in told["statuses"].items()})
    buyers.pass_by(requests + traffic.connections)
    return found


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def run_wrk(
    traffic: Traffic, seconds: float, buyers: BuyersFile | None, *, script: Path = SCRIPT, **more: str
) -> dict[str, Any]:
    """What a script of wrk's tells in its last line; `more` is for its environment. Raises OpsError if it fails."""
    environment = os.environ | {
        "BENCH_BUYERS": str(buyers.file) if buyers else "",
        "BENCH_FIRST": str(buyers.first) if buyers else "0",
        "BENCH_METHOD": traffic.method,
        "BENCH_PATHS": " ".join(traffic.paths),
        "BENCH_BODY": traffic.body,
        "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in traffic.all_headers().items()),
        **more,
    }
    options = ["-t", "1", "-c", str(traffic.connections), "-d", f"{max(1, round(seconds))}s"]
    options += ["--timeout", f"{ANSWER_SECONDS_MAX}s", "-s", str(script)]
    try:
        done = subprocess.run(
            [shutil.which("wrk") or "wrk", *options, traffic.url],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
            timeout=seconds + GRACE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as why:
        raise OpsError(f"wrk failed: {why}") from why
    told = [line.removeprefix("BENCH ") for line in done.stdout.splitlines() if line.startswith("BENCH ")]
    if not told:
        raise OpsError(f"wrk says {done.stdout[-200:]!r} {done.stderr[-200:]!r}")
    return orjson.loads(told[0])  # type: ignore[no-any-return]


async def _pour_with_crowd(traffic: Traffic, seconds: float, buyers: BuyersFile | None) -> Load:
    times: list[float] = []
    statuses: Counter[int] = Counter()
    began_at = time.perf_counter()

    async def one(session: aiohttp.ClientSession, numbers: "itertools.count[int]") -> None:
        while time.perf_counter() - began_at < seconds:
            asked_at = time.perf_counter()
            statuses[await _ask(session, traffic, next(numbers), buyers)] += 1
            times.append((time.perf_counter() - asked_at) * 1000)

    await _everybody(traffic, one)
    times.sort()
    refused = sum(count for status, count in statuses.items() if status >= 400)  # noqa: PLR2004 - refusals
    return Load(
        len(times),
        time.perf_counter() - began_at,
        refused,
        statuses[0],
        statistics.median(times),
        times[int(len(times) * 0.99)],
    )


async def _rush_with_crowd(traffic: Traffic, requests: int, buyers: BuyersFile, seconds_max: float) -> Rush:
    statuses: dict[int, tuple[int, float]] = {}
    began_at = time.time()

    async def one(session: aiohttp.ClientSession, numbers: "itertools.count[int]") -> None:
        while (number := next(numbers)) < requests:
            status = await _ask(session, traffic, number, buyers)
            statuses[status] = (statuses.get(status, (0, 0.0))[0] + 1, time.time())

    try:
        async with asyncio.timeout(seconds_max):
            await _everybody(traffic, one)
    except TimeoutError as why:
        raise OpsError(f"{requests} requests took over {seconds_max} s") from why
    return Rush(began_at, statuses)


async def _everybody(traffic: Traffic, one) -> None:  # type: ignore[no-untyped-def]
    numbers = itertools.count()
    limits = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limits) as session:
        await asyncio.gather(*(one(session, numbers) for _ in range(traffic.connections)))


async def _ask(session: aiohttp.ClientSession, traffic: Traffic, number: int, buyers: BuyersFile | None) -> int:
    """The status of one answer; 0 if none came."""
    headers, body = traffic.all_headers(), traffic.body
    if buyers:
        buyer = buyers.take(number)
        headers |= buyer.headers
        body = body.replace("@USER@", str(buyer.user_id))
    path = traffic.paths[number % len(traffic.paths)]
    try:
        async with session.request(traffic.method, traffic.url + path, data=body or None, headers=headers) as answer:
            await answer.read()
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


def on(traffic: Traffic, url: str, *paths: str) -> Traffic:
    """The same requests to another address."""
    return replace(traffic, url=url, paths=paths or traffic.paths)
