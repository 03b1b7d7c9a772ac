"""How long a buyer waits for the outcome when the shop has seven tenths of what it can do, and how soon a refusal comes
after the sale is sold out.

Buyers come at a steady pace, whether or not those before them are done; their wait counts from when they meant to come.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from bench.buyers import BEHIND_A_PROXY, BuyersFile, new_buyers
from bench.load import Load, Traffic, generator, pour
from bench.progress import rounds_of, say
from bench.result import Benchmark, Result, Row, Table, Target
from bench.sale import exactness, new_sale, wait_until_line_is_empty
from bench.servers import BARE_APP, granian
from bench.sizes import size
from bench.stack import Stack, measured_stack
from bench.visits import Crowd, Place, Visits, visit_at_pace, visit_in_turns

VISITORS = size(32, 8)
SHARE = 0.7
SECONDS = size(6, 2)
BUYERS = size(60_000, 1_000)
CONNECTIONS = 64

BARE, PREFER, LONG_POLL = "bare Flask POST", "Prefer: wait", "202, then long poll"
ACCEPTED, REFUSED = "accepted", "refused after the sell-out"


def run(rounds: int) -> Result:
    """First what the shop can do, then seven tenths of it; the ways come in turns."""
    with measured_stack(("flower",), **BEHIND_A_PROXY) as stack:
        buyers = new_buyers(stack, BUYERS)
        sale_id, sold_out = new_sale("Latency"), _sold_out(stack, buyers)
        with _places(stack, buyers, sale_id) as places:
            full = min(visit_in_turns(places[name], VISITORS, SECONDS).rate for name in (PREFER, LONG_POLL))
            pace = SHARE * full
            say(f"{VISITORS} buyers are answered {full:,.0f} times a second; from now on {pace:,.0f} come a second")
            waits: dict[str, list[Visits]] = {name: [] for name in places}
            answers: dict[str, list[Load]] = {ACCEPTED: [], REFUSED: []}
            for number in rounds_of(rounds, "latency"):
                for name in places if number % 2 else reversed(places):
                    waits[name].append(visit_at_pace(places[name], pace, SECONDS))
                for name, asked in ((ACCEPTED, sale_id), (REFUSED, sold_out)):
                    answers[name].append(_answer(stack, asked, buyers))
                    wait_until_line_is_empty(asked)
        return Result(
            title="Time to outcome at seven tenths of the load",
            tables=_tables(waits, answers),
            targets=_targets(waits, answers),
            notes=_notes(stack, pace, full, sale_id),
            servers=stack.versions(),
        )


@contextmanager
def _places(stack: Stack, buyers: BuyersFile, sale_id: int) -> Iterator[dict[str, Place]]:
    with ExitStack() as cleanup:
        bare = cleanup.enter_context(granian(stack, BARE_APP, workers=stack.settings.web_workers)).url
        crowd = Crowd(buyers)
        path = f"/api/flash-sales/{sale_id}/purchases"
        yield {
            BARE: crowd.post(f"{bare}/bare", expected=200),
            PREFER: crowd.post(stack.web_url + path, headers={"Prefer": "wait=10"}),
            LONG_POLL: crowd.post_and_long_poll(stack.web_url + path, f"{stack.web_url}/api/purchases"),
        }


def _sold_out(stack: Stack, buyers: BuyersFile) -> int:
    """A sale whose one unit is gone."""
    sale_id = new_sale("Sold out", stock=1)
    pour(replace(_traffic(stack, sale_id), connections=2), 1, buyers)
    wait_until_line_is_empty(sale_id)
    return sale_id


def _answer(stack: Stack, sale_id: int, buyers: BuyersFile) -> Load:
    return pour(_traffic(stack, sale_id), SECONDS / 2, buyers)


def _traffic(stack: Stack, sale_id: int) -> Traffic:
    return Traffic(stack.web_url, (f"/api/flash-sales/{sale_id}/purchases",), connections=CONNECTIONS)


def _tables(waits: dict[str, list[Visits]], answers: dict[str, list[Load]]) -> list[Table]:
    return [
        Table(
            "half of the buyers know", "milliseconds", [Row(n, tuple(v.p50_ms for v in w)) for n, w in waits.items()]
        ),
        Table(
            "99 % of the buyers know", "milliseconds", [Row(n, tuple(v.p99_ms for v in w)) for n, w in waits.items()]
        ),
        Table(
            f"the answer to a POST, {CONNECTIONS} connections, median",
            "milliseconds",
            [Row(name, tuple(load.p50_ms for load in loads)) for name, loads in answers.items()],
        ),
        Table(
            f"answers to a POST, {CONNECTIONS} connections",
            "requests a second",
            [Row(name, tuple(load.answered / load.seconds for load in loads)) for name, loads in answers.items()],
        ),
    ]


def _targets(waits: dict[str, list[Visits]], answers: dict[str, list[Load]]) -> list[Target]:
    bare = Row(BARE, tuple(visits.p50_ms for visits in waits[BARE])).median
    targets = []
    for name in (PREFER, LONG_POLL):
        p50 = Row(name, tuple(visits.p50_ms for visits in waits[name])).median
        p99 = Row(name, tuple(visits.p99_ms for visits in waits[name])).median
        targets += [
            Target(f"{name}: p50, of bare Flask's p50", p50 / bare, at_most=25),
            Target(f"{name}: p99, of bare Flask's p50", p99 / bare, at_most=100),
        ]
    refused, accepted = (Row("", tuple(load.p50_ms for load in answers[name])).median for name in (REFUSED, ACCEPTED))
    return [*targets, Target("a refusal after the sell-out, of an accept's time", refused / accepted, at_most=1)]


def _notes(stack: Stack, pace: float, full: float, sale_id: int) -> tuple[str, ...]:
    return (
        f"{pace:,.0f} buyers come a second, in equal steps",
        f"that is {SHARE:.0%} of the {full:,.0f} outcomes a second that {VISITORS} buyers get who come again at once",
        "bare Flask has the same pace from the same crowd: aiohttp, one process, on the same cores",
        f"answers to a POST: {generator()}; the worker settles what is accepted meanwhile",
        f"ours: web {stack.settings.web_workers} processes of one event loop each, one worker",
        f"counted: {exactness(sale_id)}",
    )


BENCHMARK = Benchmark("latency", "time to outcome at 70 % of the load, beside a bare Flask POST", run, minutes=3)
