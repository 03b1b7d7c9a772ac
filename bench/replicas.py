"""What a promise costs: how long the gate takes to say yes, by where Redis is and what it waits for.

`python -m bench.replicas` measures and writes the table into docs/promises.md. One buyer asks at a time, with all that
is asked of whoever asks (token, limit, velocity), so that what shows is the way and the waiting, and no queue.
"""

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import redis

from models.announce import announce
from models.clock import now, to_ms
from models.gate import Checks, Limit, ask
from models.purchase import Kind
from models.snapshot import SaleSnapshot
from models.velocity import Attempt, questions_about
from ops.cluster import EmbeddedCluster
from ops.terminal import say
from ops.throwaway import embedded_valkey

PAGE = Path(__file__).parent.parent / "docs" / "promises.md"
BEGIN, END = "<!-- price: made by `python -m bench.replicas` -->", "<!-- price: end -->"
ROUNDS = 7
REQUESTS_PER_ROUND = 300
WARM_UP_REQUESTS = 50
SALE = 1
# What the children are told, and what in their lines is their answer.
MEASURE = "measure"
NODE_TIMEOUT_MS = 5_000

EVERYSEC, ALWAYS = "one Redis, `appendfsync everysec`", "one Redis, `appendfsync always`"
CLUSTER, WAITED = "a cluster", "a cluster, `REDIS_WAIT_REPLICAS=1`"


def measure() -> None:
    """In a process of its own, whose settings are those of one way: medians in ms, one a line for each line read."""
    announce(_sale())
    for number in range(WARM_UP_REQUESTS):
        _ask(number)
    for line in sys.stdin:
        took = [_ask(int(line) + number) for number in range(REQUESTS_PER_ROUND)]
        sys.stdout.write(f"{json.dumps(statistics.median(took))}\n")
        sys.stdout.flush()


def _sale() -> SaleSnapshot:
    begins = to_ms(now()) - 1_000
    return SaleSnapshot(SALE, 1, "live", None, False, 1_000_000, 0, 0, begins, None, None, None, 0, False)  # noqa: FBT003


def _ask(user_id: int) -> float:
    checks = Checks("j", 0, (Limit(120, 60),), questions_about(Attempt(user_id, SALE, f"192.0.2.{user_id % 250}")))
    began = time.perf_counter()
    ask(SALE, user_id, Kind.PURCHASE, 1, checks=checks).admission()
    return (time.perf_counter() - began) * 1000


@contextmanager
def _ways() -> Iterator[dict[str, dict[str, str]]]:
    """The settings of each way, while its servers run."""
    with ExitStack() as stack:
        always, everysec = (stack.enter_context(embedded_valkey()) for _ in range(2))
        with redis.Redis.from_url(everysec.url) as client:
            client.config_set("appendfsync", "everysec")
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = EmbeddedCluster(home, password=secrets.token_urlsafe(12), node_timeout_ms=NODE_TIMEOUT_MS)
        stack.callback(cluster.stop)
        on_cluster = {"REDIS_URL": cluster.start().url, "BROKER_URL": always.url}
        yield {
            EVERYSEC: {"REDIS_URL": everysec.url},
            ALWAYS: {"REDIS_URL": always.url},
            CLUSTER: on_cluster,
            WAITED: on_cluster | {"REDIS_WAIT_REPLICAS": "1", "REDIS_WAIT_MS": "900"},
        }


def run() -> dict[str, list[float]]:
    """The medians of all ways, in ms: a round of each in turns, so that what else the machine does meets them all."""
    command = [sys.executable, "-m", "bench.replicas", MEASURE]
    measured: dict[str, list[float]] = {}
    with _ways() as ways, ExitStack() as stack:
        children = {}
        for name, settings in ways.items():
            child = subprocess.Popen(
                command,
                env=os.environ | {"LOG_LEVEL": "ERROR", "JWT_SECRET_KEY": secrets.token_hex(32)} | settings,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            children[name] = stack.enter_context(child)
            stack.callback(child.kill)
            measured[name] = []
        for number in range(ROUNDS):
            for name, child in children.items():
                to_child, from_child = cast(IO[str], child.stdin), cast(IO[str], child.stdout)
                to_child.write(f"{(number + 1) * REQUESTS_PER_ROUND}\n")
                to_child.flush()
                measured[name].append(float(json.loads(from_child.readline())))
    return measured


def table(measured: dict[str, list[float]]) -> str:
    lines = ["| Redis | median of a yes, ms | lowest round, ms |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {statistics.median(took):.2f} | {min(took):.2f} |" for name, took in measured.items()]
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:] == [MEASURE]:
        measure()
        return
    made = table(run())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE.name} has lost the mark {BEGIN!r} or {END!r}")
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")
    say(made)


if __name__ == "__main__":
    main()
