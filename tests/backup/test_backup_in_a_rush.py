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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from models.settings import Settings, settings
from models.tokens import issue_access_token
from ops.boot import loopback_url
from ops.ports import free_port
from ops.reset import reset
from ops.stack import running_environment
from ops.state import DataDir

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 240
STOP_SECONDS_MAX = 60
COMMAND_SECONDS_MAX = 150
DRAIN_SECONDS_MAX = 120
UNITS = 100_000
CROWD = 6
BEFORE_THE_BACKUP = 300
LIFETIME = timedelta(hours=1)


class Stack:
    """A `make run` in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        ours = {name.upper() for name in Settings.model_fields}
        ports = {name: str(free_port()) for name in ("PORT", "LIVE_PORT", "FLOWER_PORT")}
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
            process.wait(STOP_SECONDS_MAX)

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
        return requests.request(method, self.url + path, headers=headers, timeout=20, **sent)


class Crowd:
    """Buyers who press the button one after the other, each with a key, and remember what they were told and when."""

    def __init__(self, stack: Stack, sale_id: int, tokens: dict[int, str]) -> None:
        self.told: dict[int, tuple[int, float]] = {}  # user -> ticket, and when the answer was here (epoch seconds)
        self.refused: list[str] = []
        self._stack, self._sale_id, self._tokens = stack, sale_id, tokens
        self._pool = ThreadPoolExecutor(CROWD)
        self._enough = threading.Event()

    def start(self) -> None:
        for user in self._tokens:
            self._pool.submit(self._visit, user)

    def _visit(self, user: int) -> None:
        if self._enough.is_set():
            return
        try:
            answer = self.buy(user)
        except requests.RequestException as why:
            self.refused.append(repr(why))
            return
        if answer.status_code == 202:
            self.told[user] = (answer.json()["data"]["ticket"], time.time())
        else:
            self.refused.append(answer.text)

    def buy(self, user: int, key: str = "once") -> requests.Response:
        path = f"/api/flash-sales/{self._sale_id}/purchases"
        return self._stack.ask("POST", path, self._tokens[user], json={"quantity": 1}, headers={"Idempotency-Key": key})

    def stop(self) -> None:
        self._enough.set()
        self._pool.shutdown()


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


@pytest.mark.timeout(900)
def test_a_backup_taken_in_a_rush_is_a_shop_that_goes_on_selling_exactly(
    stacks: tuple[Stack, Stack], tmp_path: Path
) -> None:
    lost, clean = stacks
    copy = tmp_path / "copy"
    with lost.running():
        sale_id = make_sale(lost)
        lost.command("ops.buyers", "--count", "8000", "--out", str(tmp_path / "tokens"))
        crowd = Crowd(lost, sale_id, lost.tokens("customer", lost.users("customer")))
        crowd.start()
        try:
            eventually(lambda: bool(crowd.refused) or len(crowd.told) >= BEFORE_THE_BACKUP, "the rush is on")
            assert not crowd.refused, crowd.refused[0]
            began = time.time()
            lost.command("ops.backup", "--out", str(copy))
            ended = time.time()
            eventually(lambda: any(at > ended for _, at in list(crowd.told.values())), "the rush is still on")
        finally:
            crowd.stop()
        assert not crowd.refused
    before = {user: ticket for user, (ticket, at) in crowd.told.items() if at < began}
    assert len(before) >= BEFORE_THE_BACKUP

    said = clean.command("ops.restore", "--from", str(copy))
    assert "every book agrees" in said
    with clean.running():
        eventually(lambda: line_is_empty(clean, sale_id), "the line drains")
        rows = {
            user: ticket
            for ticket, user in clean.rows("SELECT ticket, user_id FROM purchases WHERE sale_id = %s", sale_id)
        }
        assert before.items() <= rows.items(), "what was accepted before the backup has its outcome"
        assert rows.items() <= {user: ticket for user, (ticket, _) in crowd.told.items()}.items(), (
            "and nothing is made up"
        )
        the_books_agree(clean, sale_id)
        old_keys_answer(clean, sale_id, before)
        tickets_go_on(clean, sale_id, settled_through=max(rows.values()))
        old_sessions_have_ended(clean, lost_token=crowd._tokens[next(iter(before))])


def make_sale(stack: Stack) -> int:
    [admin] = stack.users("admin")
    token = stack.tokens("admin", [admin])[admin]
    product = stack.ask("POST", "/api/products", token, json={"name": "A rush", "price": "99.99"}).json()["data"]
    opens = datetime.fromisoformat(stack.ask("GET", "/api/flash-sales", token).json()["data"][0]["serverTime"])
    body = {
        "productId": product["id"],
        "title": "A rush",
        "flashPrice": "49.99",
        "totalStock": UNITS,
        "startTime": (opens + timedelta(seconds=1)).isoformat(),
    }
    answer = stack.ask("POST", "/api/flash-sales", token, json=body)
    assert answer.status_code == 201, answer.text
    sale_id = int(answer.json()["data"]["id"])
    path = f"/api/flash-sales/{sale_id}"
    eventually(lambda: stack.ask("GET", path, token).json()["data"]["status"] == "LIVE", "the sale opens")
    return sale_id


def line_is_empty(stack: Stack, sale_id: int) -> bool:
    import redis  # noqa: PLC0415

    with redis.Redis.from_url(running_environment(stack.data)["REDIS_URL"]) as client:
        return int(client.xlen(f"{{sale:{sale_id}}}:mailbox")) == 0


def the_books_agree(stack: Stack, sale_id: int) -> None:
    [admin] = stack.users("admin")
    token = stack.tokens("admin", [admin])[admin]
    audit = stack.ask("GET", f"/api/flash-sales/{sale_id}/audit", token).json()["data"]
    assert audit["agrees"], audit


def old_keys_answer(stack: Stack, sale_id: int, before: dict[int, int]) -> None:
    some = list(before)[:5] + list(before)[-5:]
    again = Crowd(stack, sale_id, stack.tokens("customer", some))
    for user in some:
        answer = again.buy(user).json()["data"]
        assert answer["ticket"] == before[user]


def tickets_go_on(stack: Stack, sale_id: int, settled_through: int) -> None:
    user = stack.users("customer")[-1]
    anew = Crowd(stack, sale_id, stack.tokens("customer", [user]))
    assert anew.buy(user, key="anew").json()["data"]["ticket"] > settled_through
    eventually(lambda: line_is_empty(stack, sale_id), "the new request is settled")
    the_books_agree(stack, sale_id)


def old_sessions_have_ended(stack: Stack, lost_token: str) -> None:
    assert stack.ask("GET", "/api/users/me", lost_token).status_code == 401
