"""Buyers who stay until they know, by wrk: whatever connection an answer comes on, it is its buyer who goes on."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.buyers import BenchBuyer, BuyersFile
from bench.load import Traffic
from bench.visits_by_wrk import AT_ONCE, Known, Look, visit_by_wrk
from ops.errors import OpsError

pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk here")

BUYERS, CONNECTIONS = 20_000, 8
PAUSE_MS = 50


class Shop(ThreadingHTTPServer):
    """Tells everybody 202, and in their last of so many looks the outcome; remembers who asked what and when."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.looks_needed = 1
        self.outcome = "confirmed"
        self.sells_at_once = False
        self.breaks_every = 0
        self.buyers: list[str] = []
        # By purchase: who asks, and each moment of an answer and of the next look.
        self.looks: Counter[str] = Counter()
        self.told: set[str] = set()
        self.answered_at: dict[str, float] = {}
        self.problems: list[str] = []
        self.pauses: list[float] = []
        self.under_way_max = 0

    def handle_error(self, *_: Any) -> None:
        """wrk leaves when its time is up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Shop

    def do_POST(self) -> None:
        shop = self.server
        self.rfile.read(int(self.headers["Content-Length"]))
        user = self._user()
        with shop.lock:
            shop.buyers.append(user)
            place = f"7-{len(shop.buyers)}-{user}"
            shop.under_way_max = max(shop.under_way_max, len(shop.buyers) - len(shop.told))
            breaks = shop.breaks_every and len(shop.buyers) % shop.breaks_every == 0
        if breaks:
            self.close_connection = True
            return
        if shop.sells_at_once:
            with shop.lock:
                shop.told.add(place)
            self._answer(201, {})
        else:
            self._answer(202, {"purchaseId": place, "userId": user, "status": "queued"})

    def do_GET(self) -> None:
        shop = self.server
        place = self.path.removeprefix("/api/purchases/").removesuffix("?wait=10")
        with shop.lock:
            shop.looks[place] += 1
            shop.pauses.append(time.monotonic() - shop.answered_at[place])
            if place.rpartition("-")[2] != self._user():
                shop.problems.append(f"{self._user()} asks for {place}")
            if place in shop.told:
                shop.problems.append(f"{place} is asked for again")
            is_known = shop.looks[place] == shop.looks_needed
            if is_known:
                shop.told.add(place)
        self._answer(200, {"purchaseId": place, "status": shop.outcome if is_known else "queued"})

    def _user(self) -> str:
        user = str(self.headers["Authorization"]).removeprefix("Bearer token-")
        if self.headers["X-Forwarded-For"] != _address(int(user)):
            self.server.problems.append(f"{user} comes from elsewhere")
        return user

    def _answer(self, status: int, data: dict[str, str]) -> None:
        body = orjson.dumps({"success": True, "data": data})
        if "purchaseId" in data:
            self.server.answered_at[data["purchaseId"]] = time.monotonic()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _address(number: int) -> str:
    return f"10.0.{number // 250}.{number % 250}"


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def buyers(tmp_path: Path) -> BuyersFile:
    return BuyersFile(tmp_path / "buyers", [BenchBuyer(n, f"token-{n}", _address(n)) for n in range(BUYERS)])


def _visit(shop: Shop, buyers: BuyersFile, *, pause_ms: int = 0, seconds: int = 1) -> Known:
    look = AT_ONCE if shop.sells_at_once else Look("/api/purchases/@PLACE@?wait=10", "purchaseId", pause_ms)
    known = visit_by_wrk(Traffic(shop.url, ("/buy",), connections=CONNECTIONS), look, seconds, buyers)
    assert shop.problems == []
    return known


@pytest.mark.parametrize(("looks", "pause_ms"), [(1, 0), (3, 0), (1, PAUSE_MS), (3, PAUSE_MS)])
def test_everybody_asks_for_their_own_until_they_know_and_is_counted_once(
    shop: Shop, buyers: BuyersFile, looks: int, pause_ms: int
) -> None:
    shop.looks_needed = looks

    found = _visit(shop, buyers, pause_ms=pause_ms)

    assert found.checked() is found
    # Some may have been told when the time was up, and nobody read it any more.
    assert len(shop.told) - CONNECTIONS <= found.known <= len(shop.told)
    assert {shop.looks[place] for place in shop.told} == {looks}
    assert found.lost == 0


@pytest.mark.parametrize("pause_ms", [0, PAUSE_MS])
def test_each_connection_is_one_buyer_after_another(shop: Shop, buyers: BuyersFile, pause_ms: int) -> None:
    shop.looks_needed = 2

    found = _visit(shop, buyers, pause_ms=pause_ms)

    assert shop.under_way_max <= CONNECTIONS
    assert len(set(shop.buyers)) == len(shop.buyers)
    assert 0 <= found.came - len(shop.buyers) <= CONNECTIONS


def test_who_polls_pauses_before_each_look(shop: Shop, buyers: BuyersFile) -> None:
    shop.looks_needed = 4

    _visit(shop, buyers, pause_ms=PAUSE_MS, seconds=2)

    assert min(shop.pauses) >= PAUSE_MS / 1000
    assert sorted(shop.pauses)[len(shop.pauses) // 2] < 5 * PAUSE_MS / 1000


def test_who_is_sold_to_at_once_knows_at_once(shop: Shop, buyers: BuyersFile) -> None:
    shop.sells_at_once = True

    found = _visit(shop, buyers)

    assert len(shop.told) - CONNECTIONS <= found.known <= len(shop.told)


def test_an_outcome_that_nobody_wanted_is_no_good_one(shop: Shop, buyers: BuyersFile) -> None:
    shop.outcome = "rejected"

    found = _visit(shop, buyers)

    assert found.known == 0
    assert found.wrong > 0
    with pytest.raises(OpsError, match="0 know"):
        found.checked()


@pytest.mark.parametrize("pause_ms", [0, PAUSE_MS])
def test_a_connection_that_breaks_takes_its_buyer_along_and_nobody_elses(
    shop: Shop, buyers: BuyersFile, pause_ms: int
) -> None:
    shop.breaks_every = 5

    found = _visit(shop, buyers, pause_ms=pause_ms)

    asked = len(shop.buyers)
    assert abs(found.lost - asked // 5) <= CONNECTIONS
    assert len(shop.told) - CONNECTIONS <= found.known <= len(shop.told)
    assert shop.under_way_max - asked // 5 <= CONNECTIONS
    with pytest.raises(OpsError, match="never came"):
        found.checked()


def test_the_next_round_goes_on_where_the_last_one_ended(shop: Shop, buyers: BuyersFile) -> None:
    _visit(shop, buyers)
    first = set(shop.buyers)
    _visit(shop, buyers)

    assert len(set(shop.buyers)) == len(shop.buyers)
    assert first
