"""Where buyers buy and wait for their outcome in `answered`: ours, one statement, and naive Celery.

By every way to buy and know there; and whether each has sold at least as much as buyers say.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from bench.baselines.servers import BODY, STOCK, baseline_server, celery_worker
from bench.baselines.shop import BaselineShop
from bench.buyers import BuyersFile
from bench.load import Traffic, has_wrk
from bench.sale import exactness, new_sale, wait_until_line_is_empty
from bench.sizes import size
from bench.stack import Stack
from bench.visits import POLL_SECONDS, WAIT_SECONDS, Crowd, Place, visit_in_turns
from bench.visits_by_wrk import AT_ONCE, Look, visit_by_wrk
from ops.errors import OpsError

SECONDS = size(3, 2)
# When Celery has written nothing for so long, nobody is in its queue.
QUIET_SECONDS, QUIET_SECONDS_MAX = 0.3, 60

ONE, PREFER, LONG_POLL, NAIVE = "one statement", "Prefer: wait", "long poll", "naive Celery, polled"
ONE_BY_CROWD, SOCKET, NAIVE_BY_CROWD = f"{ONE}, crowd", "WebSocket", f"{NAIVE}, crowd"
BY_WRK, BY_CROWD = (ONE, PREFER, LONG_POLL, NAIVE), (ONE_BY_CROWD, SOCKET, NAIVE_BY_CROWD)

WAITING = {"Prefer": f"wait={WAIT_SECONDS}"}
OUR_LOOK = Look(f"/api/purchases/@PLACE@?wait={WAIT_SECONDS}", "purchaseId")
NAIVE_LOOK = Look("/celery/@PLACE@", "request", pause_ms=round(POLL_SECONDS * 1000))

# Takes the number of visitors and returns how many were answered a second.
Way = Callable[[int], float]


@dataclass(slots=True)
class Till:
    """A sale. `drain` returns when nobody is in its line any more: who is, would cost the next way something."""

    sale_id: int
    drain: Callable[[], None]
    known: int = 0  # how many buyers said that they know

    def note(self, count: int) -> None:
        """So many more know; the others are waited for."""
        self.known += count
        self.drain()


class Tills:
    """One of each kind."""

    def __init__(self, shop: BaselineShop) -> None:
        ours, naive = new_sale("Answered"), shop.new_sale(STOCK)
        self._shop = shop
        self.ours = Till(ours, lambda: wait_until_line_is_empty(ours))
        self.one = Till(shop.new_sale(STOCK), lambda: None)
        self.naive = Till(naive, lambda: _wait_until_quiet(shop, naive))

    @property
    def path(self) -> str:
        """Where to buy from us."""
        return f"/api/flash-sales/{self.ours.sale_id}/purchases"

    def counted(self) -> list[str]:
        """What each has sold, in words. Raises OpsError where that is less than buyers say, or not right in itself."""
        lines = [f"counted: {exactness(self.ours.sale_id, at_least=self.ours.known)}"]
        for name, till in ((ONE, self.one), ("naive Celery", self.naive)):
            count = self._shop.count(till.sale_id)
            if not count.is_exact or count.sold < till.known:
                raise OpsError(f"{name} is not right: {count}, and {till.known:,} buyers know that they have one")
            lines.append(f"counted, {name}: {count}")
        return lines


@contextmanager
def all_ways(stack: Stack, tills: Tills, threads: int, buyers: BuyersFile) -> Iterator[dict[str, Way]]:
    """Every way to buy and know, by its name; wrk's are the crowd's where there is no wrk."""
    with ExitStack() as cleanup:
        url = cleanup.enter_context(baseline_server(stack, threads)).url
        cleanup.enter_context(celery_worker(stack))
        ours = Traffic(stack.web_url, (tills.path,))
        one = Traffic(url, (f"/one-statement/{tills.one.sale_id}",), body=BODY)
        naive = Traffic(url, (f"/celery/{tills.naive.sale_id}",), body=BODY)
        by_crowd = _by_crowd(stack, tills, Crowd(buyers), url)
        if not has_wrk():
            yield by_crowd
            return
        yield {
            ONE: _by_wrk(tills.one, one, AT_ONCE, buyers),
            PREFER: _by_wrk(tills.ours, replace(ours, headers=WAITING), OUR_LOOK, buyers),
            LONG_POLL: _by_wrk(tills.ours, ours, OUR_LOOK, buyers),
            NAIVE: _by_wrk(tills.naive, naive, NAIVE_LOOK, buyers),
            **{name: by_crowd[name] for name in BY_CROWD},
        }


def _by_wrk(till: Till, traffic: Traffic, look: Look, buyers: BuyersFile) -> Way:
    def way(visitors: int) -> float:
        visits = visit_by_wrk(replace(traffic, connections=visitors), look, SECONDS, buyers).checked()
        till.note(visits.known)
        return visits.rate

    return way


def _by_crowd(stack: Stack, tills: Tills, crowd: Crowd, url: str) -> dict[str, Way]:
    buy, outcomes = stack.web_url + tills.path, f"{stack.web_url}/api/purchases"
    socket = stack.live_url.replace("http", "ws", 1) + "/ws"

    def way_of(till: Till, place: Place) -> Way:
        def way(visitors: int) -> float:
            visits = visit_in_turns(place, visitors, SECONDS)
            till.note(visits.count)
            return visits.rate

        return way

    one = way_of(tills.one, crowd.post(f"{url}/one-statement/{tills.one.sale_id}"))
    naive = way_of(tills.naive, crowd.post_and_poll(f"{url}/celery/{tills.naive.sale_id}", f"{url}/celery"))
    return {
        ONE: one,
        PREFER: way_of(tills.ours, crowd.post(buy, headers=WAITING)),
        LONG_POLL: way_of(tills.ours, crowd.post_and_long_poll(buy, outcomes)),
        NAIVE: naive,
        ONE_BY_CROWD: one,
        SOCKET: way_of(tills.ours, crowd.post_and_listen(buy, socket)),
        NAIVE_BY_CROWD: naive,
    }


def _wait_until_quiet(shop: BaselineShop, sale_id: int) -> None:
    """Return when a sale has had no outcome for a moment; raises OpsError if it does not end."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    before, now = -1, shop.answered(sale_id)[0]
    while now != before:
        if time.monotonic() > deadline:
            raise OpsError(f"naive Celery is not done after {QUIET_SECONDS_MAX} s")
        time.sleep(QUIET_SECONDS)
        before, now = now, shop.answered(sale_id)[0]
