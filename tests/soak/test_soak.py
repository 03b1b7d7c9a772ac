"""The soak finds what grows, leaves alone what does not, and writes down what it saw."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.settings import Settings
from ops.soak.probe import CONNECTIONS, FILES, KEPT, MEMORY, MIB, THREADS, Samples
from ops.soak.report import BEGIN, END, renewed
from ops.soak.verdict import REQUESTS_MIN, Line, judge

ROOT = Path(__file__).parents[2]
RUN_SECONDS_MAX = 900

STEADY = "import time\nwhile True:\n    time.sleep(0.2)"
LEAKY = "import time\nkept = []\nwhile True:\n    kept.append(b'x' * 1_500_000)\n    time.sleep(0.2)"
FORGETFUL = "import time, os\nwhile True:\n    os.dup(0)\n    os.dup(0)\n    time.sleep(0.1)"


def measured(values: list[float], what: str = MEMORY, who: str = "web", settled: int = 0) -> Line:
    """What the verdict says of a measure with these values, one every 10 s."""
    samples = Samples()
    for number, value in enumerate(values):
        samples.add(number * 10.0, number * settled, {(who, what): value})
    [line] = judge(samples)
    return line


def test_what_stays_the_same_but_for_its_noise_is_flat():
    noise = random.Random(1)

    assert not measured([100 + noise.uniform(-20, 20) for _ in range(100)]).grows


def test_what_grows_a_little_all_the_time_is_found_under_its_noise():
    noise = random.Random(1)

    line = measured([100 + number * 0.5 + noise.uniform(-5, 5) for number in range(100)])

    assert line.grows
    assert line.growth == pytest.approx(37, rel=0.2)


def test_one_step_is_no_leak():
    assert not measured([100.0] * 95 + [150.0] * 5).grows


def test_what_warms_up_and_then_stays_is_flat():
    assert not measured([number * 10.0 for number in range(25)] + [250.0] * 75).grows


def test_one_odd_sample_sways_nothing():
    values = [100.0] * 100
    values[60] = 5_000.0

    assert not measured(values).grows


@pytest.mark.parametrize(("what", "most"), [(FILES, 32), (THREADS, 16), (CONNECTIONS, 32)])
def test_a_pool_that_fills_up_is_no_leak_and_more_than_that_is_one(what, most):
    def growing_by(units: float) -> list[float]:
        return [20 + number * units / 75 for number in range(100)]

    assert not measured(growing_by(most - 2), what).grows
    assert measured(growing_by(most * 2), what).grows


def test_the_sessions_of_postgres_may_fill_their_caches_and_no_more():
    def growing_by(mib: float) -> list[float]:
        return [40 + number * mib / 75 for number in range(100)]

    assert not measured(growing_by(60), MEMORY, "postgres").grows
    assert measured(growing_by(60), MEMORY, "worker").grows
    assert measured(growing_by(80), MEMORY, "postgres").grows
    assert not measured(growing_by(1_000), FILES, "postgres").grows


def test_the_servers_may_keep_what_was_bought_and_no_more():
    def kept(bytes_each: float, requests: int) -> Line:
        each = requests // 100
        return measured([50 + n * each * bytes_each / MIB for n in range(100)], KEPT, "Redis", settled=each)

    assert not kept(500, 100_000).grows
    assert kept(5_000, 100_000).grows
    assert not kept(5_000, REQUESTS_MIN // 2).grows  # too few to tell


def test_a_run_that_is_too_short_says_so():
    with pytest.raises(ValueError, match="longer"):
        measured([1.0] * 5)


def test_the_page_keeps_what_others_wrote():
    page = "# Reliability\n\n<!-- faults:begin -->\ntheirs\n<!-- faults:end -->\n"

    once = renewed(page, "ours\n")
    again = renewed(once, "ours, newer\n")

    assert once == f"{page}\n{BEGIN}\nours\n{END}\n"
    assert again == once.replace("ours", "ours, newer")


@contextmanager
def running(program: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.long
@pytest.mark.timeout(RUN_SECONDS_MAX + 60)
def test_a_short_soak_of_a_real_shop_names_the_processes_that_leak(tmp_path):
    ours = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    with running(STEADY) as steady, running(LEAKY) as leaky, running(FORGETFUL) as forgetful:
        watched = [f"--watch={name}={pid}" for name, pid in (
            ("steady", steady), ("leaky", leaky), ("forgetful", forgetful),
        )]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "ops.soak", "--minutes", "0.7", "--out", str(tmp_path), *watched],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=RUN_SECONDS_MAX,
        )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "leaky: memory grew by" in done.stdout
    assert "forgetful: files grew by" in done.stdout
    assert "steady: " not in done.stdout
    assert "do not agree" not in done.stdout
    page = (tmp_path / "reliability.md").read_text()
    assert page.index(BEGIN) < page.index("| leaky | memory |") < page.index(END)
    assert (tmp_path / "reliability" / "soak.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "reliability" / "soak.json").read_text())
    assert figures["done"]["accepted"] > 0
    assert figures["done"]["sockets"] > 0
    assert {"web memory", "worker files", "redis threads", "Redis kept"} <= figures["values"].keys()
