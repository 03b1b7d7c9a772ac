"""The whole story: a backup while a rush runs, a restore on a clean stack, and the sale goes on.

`make run`, `make backup` and `make restore` themselves, in directories of their own; the crowd asks over HTTP.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from models.settings import Settings, settings
from models.tokens import issue_access_token
from ops.boot import loopback_url
from ops.ports import free_ports
from ops.reset import reset
from ops.stack import running_environment
from ops.state import DataDir

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 480
STOP_SECONDS_MAX = 180
COMMAND_SECONDS_MAX = 480
DRAIN_SECONDS_MAX = 300
ANSWER_SECONDS_MAX = 60
PAUSE_SECONDS_MAX = 2.0
UNITS = 1_000_000
BUYERS = 2_000
CROWD = 6
BEFORE_THE_BACKUP = 300
LIFETIME = timedelta(hours=1)


class Stack:
    """A `make run` in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        ours = {name.upper() for name in Settings.model_fields}
        ports = dict(zip(("PORT", "LIVE_PORT", "FLOWER_PORT"), map(str, free_ports(3)), strict=True))
        directory.mkdir()
        self.data = directory / "data"
        self.output = directory / "output.txt"
        self.environment = {name: value for name, value in os.environ.items() if name not in ours} | ports
        self.environment |= {"DATA_DIR": str(self.data), "RATE_LIMIT_EXEMPT": "127.0.0.0/8"}
        self.url = loopback_url("127.0.0.1", int(ports["PORT"]))

    def command(self, *words: str) -> str:
        """Run one of our commands for this stack; what it says, which is also what the test says if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=self.environment,
            timeout=COMMAND_SECONDS_MAX,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "ops"],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            end = time.monotonic() + START_SECONDS_MAX
            while "Stop " not in self.output.read_text():
                assert process.poll() is None, self.output.read_text()
                assert time.monotonic() < end, self.output.read_text()
                time.sleep(0.2)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()  # what it leaves behind is ended by the fixture
                process.wait()
                raise

    def tokens(self, role: str, user_ids: Sequence[int]) -> dict[int, str]:
        """Tokens under the running stack's own key."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JWT_SECRET_KEY", running_environment(self.data)["JWT_SECRET_KEY"])
            settings.cache_clear()
            made = {user: issue_access_token(user, role, LIFETIME) for user in user_ids}
        settings.cache_clear()
        return made

    def rows(self, query: str, *values: Any) -> list[Any]:
        with psycopg.connect(running_environment(self.data)["DATABASE_URL"], connect_timeout=5) as connection:
            return connection.execute(query, values).fetchall()

    def users(self, role: str) -> list[int]:
        return [user for (user,) in self.rows("SELECT id FROM users WHERE role = %s ORDER BY id", role)]

    def ask(self, method: str, path: str, token: str, **sent: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} | sent.pop("headers", {})
        return requests.request(method, self.url + path, headers=headers, timeout=ANSWER_SECONDS_MAX, **sent)

    def ask_until_heard(self, method: str, path: str, token: str, **sent: Any) -> requests.Response:
        """As `ask`, and again after a 503, which on a busy machine says that a server was slow to answer this once."""
        end = time.monotonic() + DRAIN_SECONDS_MAX
        while True:
            answer = self.ask(method, path, token, **sent)
            if answer.status_code != 503 or time.monotonic() > end:
                return answer
            time.sleep(min(float(answer.headers["Retry-After"]), PAUSE_SECONDS_MAX))


class Crowd:
    """Buyers who press the button one after the other until it is enough, in rounds, each time with a new key.

    They remember what they were told and when. Who is asked to come back later does, with the same key.
    """

    def __init__(self, stack: Stack, sale_id: int, tokens: dict[int, str]) -> None:
        # ticket -> whose, their key, and when the answer was here (epoch seconds)
        self.told: dict[int, tuple[int, str, float]] = {}
        self.refused: list[str] = []
        self._stack, self._sale_id, self._tokens = stack, sale_id, tokens
        self._visits = iter((user, f"round-{number}") for number in count(1) for user in tokens)
        self._turn = threading.Lock()
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(CROWD)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _visit(self) -> None:
        while not self._enough.is_set():
            with self._turn:
                user, key = next(self._visits)
            try:
                answer = self.buy(user, key)
            except requests.RequestException as why:
                self.refused.append(repr(why))
                return
            if answer.status_code != 202:
                self.refused.append(answer.text)
                return
            self.told[answer.json()["data"]["ticket"]] = (user, key, time.time())

    def buy(self, user: int, key: str) -> requests.Response:
        path = f"/api/flash-sales/{self._sale_id}/purchases"
        headers = {"Idempotency-Key": key}
        return self._stack.ask_until_heard("POST", path, self._tokens[user], json={"quantity": 1}, headers=headers)

    def stop(self) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()


def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DRAIN_SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[tuple[Stack, Stack]]:
    """One that is lost, and a clean one. tmp_path lies below a folder that only we may enter, as homes do."""
    both = Stack(tmp_path / "lost"), Stack(tmp_path / "clean")
    yield both
    for stack in both:
        reset(DataDir.at(stack.data))


@pytest.mark.timeout(1500)
def test_a_backup_taken_in_a_rush_is_a_shop_that_goes_on_selling_exactly(
    stacks: tuple[Stack, Stack], tmp_path: Path
) -> None:
    lost, clean = stacks
    copy = tmp_path / "copy"
    with lost.running():
        sale_id = make_sale(lost)
        lost.command("ops.buyers", "--count", str(BUYERS), "--out", str(tmp_path / "tokens"))
        crowd = Crowd(lost, sale_id, lost.tokens("customer", lost.users("customer")))
        crowd.start()
        try:
            eventually(lambda: bool(crowd.refused) or len(crowd.told) >= BEFORE_THE_BACKUP, "the rush is on")
            assert not crowd.refused, crowd.refused[0]
            began = time.time()
            lost.command("ops.backup", "--out", str(copy))
            ended = time.time()
            eventually(
                lambda: bool(crowd.refused) or any(at > ended for *_, at in list(crowd.told.values())),
                "the rush is still on",
            )
        finally:
            crowd.stop()
        assert not crowd.refused, crowd.refused[0]
    before = {ticket: (user, key) for ticket, (user, key, at) in crowd.told.items() if at < began}
    assert len(before) >= BEFORE_THE_BACKUP

    said = clean.command("ops.restore", "--from", str(copy))
    assert "every book agrees" in said
    with clean.running():
        eventually(lambda: line_is_empty(clean, sale_id), "the line drains")
        query = "SELECT ticket, user_id, idempotency_key FROM purchases WHERE sale_id = %s"
        rows = {ticket: (user, key) for ticket, user, key in clean.rows(query, sale_id)}
        assert before.items() <= rows.items(), "what was accepted before the backup has its outcome"
        told = {ticket: (user, key) for ticket, (user, key, _) in crowd.told.items()}
        assert rows.items() <= told.items(), "and nothing is made up"
        the_books_agree(clean, sale_id)
        old_keys_answer(clean, sale_id, before)
        tickets_go_on(clean, sale_id, settled_through=max(rows))
        old_sessions_have_ended(clean, lost_token=next(iter(crowd._tokens.values())))


def make_sale(stack: Stack) -> int:
    [admin] = stack.users("admin")
    token = stack.tokens("admin", [admin])[admin]
    body = {"name": "A rush", "price": "99.99"}
    product = stack.ask_until_heard("POST", "/api/products", token, json=body).json()["data"]
    sales = stack.ask_until_heard("GET", "/api/flash-sales", token).json()["data"]
    opens = datetime.fromisoformat(sales[0]["serverTime"])
    body = {
        "productId": product["id"],
        "title": "A rush",
        "flashPrice": "49.99",
        "totalStock": UNITS,
        "startTime": (opens + timedelta(seconds=1)).isoformat(),
    }
    answer = stack.ask_until_heard("POST", "/api/flash-sales", token, json=body)
    assert answer.status_code == 201, answer.text
    sale_id = int(answer.json()["data"]["id"])
    path = f"/api/flash-sales/{sale_id}"
    eventually(lambda: stack.ask_until_heard("GET", path, token).json()["data"]["status"] == "LIVE", "the sale opens")
    return sale_id


def line_is_empty(stack: Stack, sale_id: int) -> bool:
    import redis  # noqa: PLC0415

    with redis.Redis.from_url(running_environment(stack.data)["REDIS_URL"]) as client:
        return int(client.xlen(f"{{sale:{sale_id}}}:mailbox")) == 0


def the_books_agree(stack: Stack, sale_id: int) -> None:
    [admin] = stack.users("admin")
    token = stack.tokens("admin", [admin])[admin]
    audit = stack.ask_until_heard("GET", f"/api/flash-sales/{sale_id}/audit", token).json()["data"]
    assert audit["agrees"], audit


def old_keys_answer(stack: Stack, sale_id: int, before: dict[int, tuple[int, str]]) -> None:
    some = list(before)[:5] + list(before)[-5:]
    again = Crowd(stack, sale_id, stack.tokens("customer", [before[ticket][0] for ticket in some]))
    for ticket in some:
        assert again.buy(*before[ticket]).json()["data"]["ticket"] == ticket


def tickets_go_on(stack: Stack, sale_id: int, settled_through: int) -> None:
    user = stack.users("customer")[-1]
    anew = Crowd(stack, sale_id, stack.tokens("customer", [user]))
    assert anew.buy(user, key="anew").json()["data"]["ticket"] > settled_through
    eventually(lambda: line_is_empty(stack, sale_id), "the new request is settled")
    the_books_agree(stack, sale_id)


def old_sessions_have_ended(stack: Stack, lost_token: str) -> None:
    assert stack.ask_until_heard("GET", "/api/users/me", lost_token).status_code == 401
