"""`make run` itself: from a checkout to a shop that sells, whatever is killed, until it is asked to stop."""

import json
import os
import re
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from ops.stack import running_stack
from tests.ops.checkout import OPEN_SECONDS_MAX, Stack, stack_in_a_copy, wait_until

BACK_SECONDS_MAX = 240
PARTS = ("web", "live", "worker", "chores", "beat", "flower", "postgres", "redis")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_in_a_copy(tmp_path_factory.mktemp("checkout")) as stack:
        yield stack


@pytest.mark.timeout(1500)
def test_everything_runs_sells_survives_and_stops(stack: Stack) -> None:
    """One story, for every chapter needs the stack of the one before."""
    said = stack.start()
    password = a_buyer_can_log_in(stack, said)
    another_shell_finds_the_stack(stack)
    the_shops_own_commands_find_it_too(stack)
    flower_asks_for_its_password(stack)
    nothing_listens_beyond_loopback(stack)
    a_second_stack_on_the_same_data_is_refused(stack)

    every_part_that_is_killed_comes_back(stack)
    a_unit_is_sold(stack, password)
    nothing_is_left_after(stack, signal.SIGTERM)

    said = stack.start()
    assert password not in said  # it was shown once
    a_unit_is_sold(stack, password)
    nothing_is_left_after(stack, signal.SIGINT)
    assert "Traceback" not in stack.said


def a_buyer_can_log_in(stack: Stack, said: str) -> str:
    found = re.search(r"buyer +buyer@doorbuster\.example +(\S+)", said)
    assert found, said
    assert token(stack, found[1])
    return found[1]


def another_shell_finds_the_stack(stack: Stack) -> None:
    found = running_stack(stack.data_dir.path)

    assert (found.port, found.environment) == (int(stack.ports["PORT"]), "demo")
    assert found.database_url
    assert found.redis_url


def the_shops_own_commands_find_it_too(stack: Stack) -> None:
    done = subprocess.run(
        ["make", "flask", "CMD=doctor --json", f"PYTHON={sys.executable}"],
        cwd=stack.checkout,
        env=stack.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=BACK_SECONDS_MAX,
    )

    # Of a machine with little to spare the doctor may warn: then make says that something failed.
    assert json.loads(done.stdout)["status"] < 2, done.stdout + done.stderr


def flower_asks_for_its_password(stack: Stack) -> None:
    basic = b64encode(running_stack(stack.data_dir.path).flower_basic_auth.encode()).decode()
    wait_until(lambda: stack.ask("/", port="FLOWER_PORT")[0] != 0, OPEN_SECONDS_MAX)

    assert stack.ask("/", port="FLOWER_PORT")[0] == 401
    assert stack.ask("/", port="FLOWER_PORT", Authorization=f"Basic {basic}")[0] == 200


def nothing_listens_beyond_loopback(stack: Stack) -> None:
    listening = []
    for process in stack.processes():
        # One of PostgreSQL's may have done its work meanwhile.
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections(kind="inet")
            listening += [each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN]

    assert len(listening) >= 5
    assert set(listening) == {"127.0.0.1"}


def a_second_stack_on_the_same_data_is_refused(stack: Stack) -> None:
    second = subprocess.run(
        ["make", "run", f"PYTHON={sys.executable}"],
        cwd=stack.checkout,
        env=stack.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert second.returncode != 0
    assert "a stack runs already" in second.stderr
    assert "Traceback" not in second.stderr


def every_part_that_is_killed_comes_back(stack: Stack) -> None:
    before = stack.supervisor.process_ids()
    assert set(before) == set(PARTS)
    for part in PARTS:
        os.kill(before[part], signal.SIGKILL)
        wait_until(lambda: stack.supervisor.process_ids().get(part, before[part]) != before[part], BACK_SECONDS_MAX)  # noqa: B023
    wait_until(lambda: stack.ask("/readyz")[0] == 200, BACK_SECONDS_MAX)
    wait_until(lambda: stack.ask("/readyz", port="LIVE_PORT")[0] == 200, BACK_SECONDS_MAX)
    wait_until(lambda: stack.ask("/", port="FLOWER_PORT")[0] == 401, BACK_SECONDS_MAX)
    assert "died and was started again" in stack.said


def a_unit_is_sold(stack: Stack, password: str) -> None:
    """From the login to the outcome, which needs every part but Flower: the demo's sale opens by itself."""

    def buy() -> bool:
        status, answer = stack.ask(
            "/api/flash-sales/1/purchases",
            {"quantity": 1},
            port="LIVE_PORT",
            Authorization=f"Bearer {token(stack, password)}",
            Prefer="wait=15",
        )
        return bool(status == 201 and answer["data"]["status"] == "confirmed")

    wait_until(buy, BACK_SECONDS_MAX, pause_seconds=2)


def nothing_is_left_after(stack: Stack, number: signal.Signals) -> None:
    processes = stack.processes()

    stack.stop(number)

    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []
    assert "Traceback" not in stack.said
    assert not stack.data_dir.stack.exists()


def token(stack: Stack, password: str) -> str:
    status, answer = stack.ask("/api/auth/login", {"email": "buyer@doorbuster.example", "password": password})
    return str(answer["data"]["accessToken"]) if status == 200 else ""
