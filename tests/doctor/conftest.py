"""A whole healthy stack, and `flask doctor` as an operator runs it, with its exit status.

Where a test gives it settings of its own it is a process of its own, else a command in this one, which is quicker.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models import rediskeys
from models.redisclient import redis_client
from ops.throwaway_shop import ThrowawayShop, throwaway_shop
from web.app import create_app

ROOT = Path(__file__).parents[2]
DOCTOR_SECONDS_MAX = 300
BACK_SECONDS_MAX = 240
# The command's exit status.
WARNED, CRITICAL = 1, 2

Verdict = tuple[int, dict[str, dict[str, str]]]


@pytest.fixture(scope="module")
def shop(servers, tmp_path_factory) -> Iterator[ThrowawayShop]:
    """Web, live, a worker, chores and beat."""
    with throwaway_shop(tmp_path_factory.mktemp("doctor")) as running:
        yield running


@pytest.fixture
def healthy(store, shop) -> ThrowawayShop:
    """The shop with empty servers, and everybody heard of."""
    eventually(everybody_is_there, "worker, chores and beat are heard of")
    return shop


def everybody_is_there() -> bool:
    queues = ",".join(redis_client().hgetall(rediskeys.WORKERS).values())
    return "settlements" in queues and "chores" in queues and bool(redis_client().exists(rediskeys.BEAT_HEARTBEAT))


def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + BACK_SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, f"not within {BACK_SECONDS_MAX} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def doctor(app_runner) -> Callable[..., Verdict]:
    """doctor(*arguments, **settings by environment name) -> exit status, findings by code"""

    def examine(*arguments: str, **environment: str) -> Verdict:
        words = ["doctor", "--json", *arguments]
        if environment:
            status, said = in_a_process(words, environment)
        else:
            result = app_runner.invoke(args=words)
            status, said = result.exit_code, result.output
        told = json.loads(said)
        assert told["status"] == status
        return status, {finding["code"]: finding for finding in told["findings"]}

    return examine


def in_a_process(words: list[str], environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=DOCTOR_SECONDS_MAX,
    )
    assert done.stdout, done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def app_runner(store):
    """What runs `flask` commands in this process."""
    return create_app().test_cli_runner()


@contextmanager
def redis_setting(name: str, value: str) -> Iterator[None]:
    before = redis_client().config_get(name)[name]
    redis_client().config_set(name, value)
    try:
        yield
    finally:
        redis_client().config_set(name, before)
