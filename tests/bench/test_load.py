"""What the load sends, and what it counts: a figure is only as good as its generator."""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.buyers import BenchBuyer, BuyersFile
from bench.load import Traffic, pour, rush
from ops.errors import OpsError

BUYERS = 5_000


class Till(ThreadingHTTPServer):
    """Remembers who asked, and refuses whoever comes after so many."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, bytes]] = []
        self.units = 1_000_000
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Till

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.asked.append((self.headers["Authorization"], self.headers["X-Forwarded-For"], body))
            is_late = len(self.server.asked) > self.server.units
        self.send_response(409 if is_late else 201)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def till() -> Iterator[Till]:
    server = Till()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def buyers(tmp_path: Path) -> BuyersFile:
    made = [BenchBuyer(number, f"token-{number}", f"10.0.{number // 250}.{number % 250}") for number in range(BUYERS)]
    return BuyersFile(tmp_path / "buyers", made)


@pytest.fixture(params=["wrk", "crowd"])
def generator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name == "wrk" and shutil.which("wrk") is None:
        pytest.skip("no wrk here")
    if name == "crowd":
        monkeypatch.setattr("bench.load.shutil.which", lambda _name: None)
    return name


def _traffic(till: Till) -> Traffic:
    return Traffic(till.url, ("/buy",), body='{"userId":@USER@}', connections=4)


def test_every_request_is_another_buyers(generator: str, till: Till, buyers: BuyersFile) -> None:
    seen = rush(_traffic(till), 200, buyers, seconds_max=60)

    tokens = [token for token, _, _ in till.asked]
    assert len(set(tokens)) == len(tokens) >= 200
    for token, address, body in till.asked:
        number = int(token.removeprefix("Bearer token-"))
        assert address == f"10.0.{number // 250}.{number % 250}"
        assert body == b'{"userId":%d}' % number
    assert seen.checked(201) is seen


def test_the_next_round_goes_on_where_the_last_one_ended(generator: str, till: Till, buyers: BuyersFile) -> None:
    rush(_traffic(till), 50, buyers, seconds_max=60)
    first = {token for token, _, _ in till.asked}
    rush(_traffic(till), 50, buyers, seconds_max=60)

    second = [token for token, _, _ in till.asked][len(first) :]
    assert not first & set(second)


def test_a_refusal_is_no_good_answer(generator: str, till: Till, buyers: BuyersFile) -> None:
    till.units = 10

    load = pour(_traffic(till), 1, buyers)

    assert load.good == 10
    assert load.refused == load.answered - 10 > 0
    with pytest.raises(OpsError, match="refusals"):
        load.checked()


def test_the_last_of_each_kind_of_answer_has_its_moment(generator: str, till: Till, buyers: BuyersFile) -> None:
    till.units = 20

    seen = rush(_traffic(till), 100, buyers, seconds_max=60)

    assert seen.statuses[201][0] == 20
    assert 0 < seen.last_after(201) <= seen.last_after(409)
    with pytest.raises(OpsError, match="nobody meant"):
        seen.checked(201)
