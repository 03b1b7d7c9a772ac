"""How many requests a second are accepted, beside the least that Flask can do on the same server.

Accepted is: token verified, limits and velocity counted, the gate passed, the request on Redis's disk. Nobody settles
meanwhile; what that costs besides is measured by `whole`. Afterwards the line is settled and counted.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.buyers import BEHIND_A_PROXY, BuyersFile, new_buyers
from bench.load import STRAYS_MAX, Load, Traffic, generator, on, pour
from bench.progress import rounds_of, say
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import exactness, line_length, new_sale, settle_all
from bench.servers import BARE_APP, Server, granian, gunicorn
from bench.sizes import size
from bench.stack import Stack, cpu_seconds, machine_cpu_seconds, measured_stack
from models.gate import admit
from models.purchase import Kind
from ops.errors import OpsError

CONNECTIONS = 64
SECONDS = size(4, 1)
BUYERS = size(60_000, 500)
PROCESSES = (1, 2)
# Only web runs: what accepts is measured alone.
LEFT_OUT = ("web", "live", "worker", "chores", "beat", "flower")
LINE_MAX = 10_000_000

BARE, SHOP, REFUSED = "bare Flask POST", "POST …/purchases", "refused after the sell-out"


@dataclass(frozen=True, slots=True)
class Way:
    """One server that is measured."""

    name: str
    processes: int
    server: Server
    traffic: Traffic
    refuses: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What one round of a way came to; milliseconds of CPU are per request."""

    load: Load
    web_ms: float
    redis_ms: float
    # Of the load generator and whatever else the machine did, the kernel's own threads too.
    rest_ms: float


def run(rounds: int) -> Result:
    """Every way for some seconds in turns; then the line is settled and counted."""
    with measured_stack(LEFT_OUT, LINE_MAX=str(LINE_MAX), **BEHIND_A_PROXY) as stack:
        say(f"making {BUYERS:,} buyers")
        buyers = new_buyers(stack, BUYERS)
        sale_id = new_sale("Accept")
        with _ways(stack, sale_id) as ways:
            for way in ways:
                _measure(stack, way, buyers, seconds=1)
            found: dict[str, list[Found]] = {_key(way): [] for way in ways}
            for number in rounds_of(rounds, "accept"):
                for way in ways if number % 2 else reversed(ways):
                    found[_key(way)].append(_measure(stack, way, buyers, seconds=SECONDS))
        say(f"settling {line_length(sale_id):,} requests")
        settle_all(sale_id)
        accepted = sum(each.load.good for name, each_round in found.items() if SHOP in name for each in each_round)
        counted = exactness(sale_id, at_least=accepted)
        return Result(
            title="Accepting",
            tables=_tables(found),
            targets=_targets(found),
            notes=_notes(stack, counted),
            servers=stack.versions(),
        )


@contextmanager
def _ways(stack: Stack, sale_id: int) -> Iterator[list[Way]]:
    with ExitStack() as cleanup:
        bare = Traffic("", ("/bare",), connections=CONNECTIONS)
        shop = Traffic("", (f"/api/flash-sales/{sale_id}/purchases",), connections=CONNECTIONS)
        ways = []
        for processes in PROCESSES:
            for name, target, traffic in ((BARE, BARE_APP, bare), (SHOP, "wsgi:app", shop)):
                server = cleanup.enter_context(granian(stack, target, workers=processes))
                ways.append(Way(name, processes, server, on(traffic, server.url)))
        sold_out = Traffic(server.url, (f"/api/flash-sales/{_sold_out()}/purchases",), connections=CONNECTIONS)
        ways.append(Way(REFUSED, PROCESSES[-1], server, sold_out, refuses=True))
        other = cleanup.enter_context(gunicorn(stack, BARE_APP))
        ways.append(Way(f"{BARE}, gunicorn", 2, other, on(bare, other.url)))
        yield ways


def _sold_out() -> int:
    """A sale whose one unit is gone."""
    sale_id = new_sale("Sold out", stock=1)
    admit(sale_id, 1, Kind.PURCHASE, 1)
    settle_all(sale_id)
    return sale_id


def _measure(stack: Stack, way: Way, buyers: BuyersFile, *, seconds: float) -> Found:
    before = _used(stack, way)
    load = pour(way.traffic, seconds, buyers)
    web, redis, machine = (later - earlier for later, earlier in zip(_used(stack, way), before, strict=True))
    if not way.refuses:
        load.checked()
    elif load.refused < load.answered * (1 - STRAYS_MAX) or not load.answered:
        raise OpsError(f"of {load.answered} answers only {load.refused} were refusals")
    count = load.refused if way.refuses else load.good
    return Found(load, web * 1000 / count, redis * 1000 / count, (machine - web - redis) * 1000 / count)


def _used(stack: Stack, way: Way) -> tuple[float, float, float]:
    """Seconds of CPU so far: of the server, of Redis, and of everything on this machine."""
    return way.server.running.cpu_seconds(), cpu_seconds(stack.valkey_pid), machine_cpu_seconds()


def _key(way: Way) -> str:
    return f"{way.name}, {_processes(way.processes)}"


def _processes(count: int) -> str:
    return f"{count} process{'' if count == 1 else 'es'}"


def _tables(found: dict[str, list[Found]]) -> list[Table]:
    tables = []
    for count in PROCESSES:
        named = {name: rounds for name, rounds in found.items() if name.endswith(_processes(count))}
        ways = {name: rounds for name, rounds in named.items() if not name.startswith(REFUSED)}
        rates = [Row(name, tuple(each.load.rate for each in rounds)) for name, rounds in ways.items()]
        costs = [Row(f"web: {name}", tuple(each.web_ms for each in rounds)) for name, rounds in ways.items()]
        redis = next(rounds for name, rounds in ways.items() if name.startswith(SHOP))
        costs.append(Row(f"Redis: {SHOP}", tuple(each.redis_ms for each in redis)))
        costs.append(Row(f"load and the rest of the machine: {SHOP}", tuple(each.rest_ms for each in redis)))
        waits = [Row(f"{name}: {which}", _waits(ways[name], which)) for which in ("p50", "p99") for name in ways]
        tables += [
            Table(f"{_processes(count)}, {CONNECTIONS} connections", "requests a second", rates),
            Table(f"{_processes(count)}: CPU a request", "milliseconds", costs),
            Table(f"{_processes(count)}: from request to answer", "milliseconds", waits),
        ]
    refused = found[f"{REFUSED}, {_processes(PROCESSES[-1])}"]
    rows = [
        Row("web", tuple(each.web_ms for each in refused)),
        Row("Redis", tuple(each.redis_ms for each in refused)),
        Row("load and the rest of the machine", tuple(each.rest_ms for each in refused)),
    ]
    return [*tables, Table(f"CPU a refusal after the sell-out, {_processes(PROCESSES[-1])}", "milliseconds", rows)]


def _waits(rounds: list[Found], which: str) -> tuple[float, ...]:
    return tuple(each.load.p50_ms if which == "p50" else each.load.p99_ms for each in rounds)


def _targets(found: dict[str, list[Found]]) -> list[Target]:
    def ratio(count: int, cost: bool) -> float:  # noqa: FBT001 - one of two figures
        bare, shop = (found[f"{name}, {_processes(count)}"] for name in (BARE, SHOP))
        figures = [tuple(each.web_ms if cost else each.load.rate for each in way) for way in (shop, bare)]
        return Row("", figures[0]).median / Row("", figures[1]).median

    return [
        *(
            Target(f"accepted, of bare Flask's rate, {_processes(count)}", ratio(count, cost=False), at_least=0.5)
            for count in PROCESSES
        ),
        *(
            Target(f"web's CPU a request, of bare Flask's, {_processes(count)}", ratio(count, cost=True), at_most=1.8)
            for count in PROCESSES
        ),
    ]


def _notes(stack: Stack, counted: str) -> tuple[str, ...]:
    return (
        "ours: granian with one event loop a process, on which the daily requests are answered, as the shop runs",
        f"bare Flask: granian with {stack.settings.web_threads} threads a process; gunicorn with 8",
        f"load: {generator()}, {CONNECTIONS} connections, {SECONDS} s a round; on the same cores as what it asks",
        f"every request has the token and the address of another of {BUYERS:,} buyers, bare Flask's too",
        "accepted: token verified, limits and velocity counted at ordinary settings, gate passed, on the disk (fsync)",
        "nobody settles meanwhile; afterwards the line was settled and recounted: " + counted,
    )


BENCHMARK = Benchmark("accept", "requests accepted a second, beside a bare Flask POST", run, minutes=3)
