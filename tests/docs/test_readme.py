"""The README keeps its word: the walk is walked on a running stack, and the settings are all there."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.settings import Settings
from ops.ports import free_ports
from ops.settings_table import renewed

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
START_SECONDS_MAX = 400
STOP_SECONDS_MAX = 180
BETWEEN = "--- the next block ---"


@dataclass(frozen=True)
class Shop:
    """A shop that `make run` would have opened."""

    url: str
    admin_password: str


@dataclass(frozen=True)
class Step:
    """A block of the walk, and what the README says that comes back: JSON, text, or nothing."""

    commands: str
    kind: str
    shown: str


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("readme")
    ports = free_ports(3)
    given = dict(zip(("PORT", "LIVE_PORT", "FLOWER_PORT"), map(str, ports), strict=True))
    # The rest as a newcomer has it, whatever the test run has set for itself.
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    output = directory / "output"
    with output.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops"],
            cwd=ROOT,
            env=inherited | given | {"DATA_DIR": str(directory / "data")},
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not (password := re.search(r"^ +admin +\S+ +(\S+)$", output.read_text(), re.MULTILINE)):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        yield Shop(f"http://127.0.0.1:{ports[0]}", password[1])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS_MAX)


def walk() -> list[Step]:
    pattern = r"<!-- walk -->\n```sh\n(.*?)```\n(?:\n```(json|text)\n(.*?)```\n)?"
    return [Step(*found) for found in re.findall(pattern, README.read_text(), re.DOTALL)]


def shape(value: Any) -> Any:
    """What of an answer does not depend on when and where it was given: its fields, and what says what happened."""
    if isinstance(value, dict):
        told = {"success", "message", "status", "role", "quantity", "ticket", "unitPrice", "totalAmount", "currency"}
        return {name: inner if name in told else shape(inner) for name, inner in value.items()}
    return type(value).__name__


def test_the_walk_comes_back_with_what_the_readme_shows(shop: Shop) -> None:
    steps = walk()
    script = f"\necho; echo '{BETWEEN}'\n".join(step.commands for step in steps)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "SHOP": shop.url, "PASSWORD": shop.admin_password, "no_proxy": "*"},
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    answers = [answer.strip() for answer in done.stdout.split(BETWEEN)]
    assert len(answers) == len(steps) > 5
    for step, answer in zip(steps, answers, strict=True):
        if step.kind == "json":
            assert shape(json.loads(answer)) == shape(json.loads(step.shown)), step.commands
        else:
            assert answer == step.shown.strip(), step.commands


def test_the_table_of_settings_is_what_the_code_says() -> None:
    assert README.read_text() == renewed(README.read_text()), "run: python -m ops.settings_table"


def test_the_secrets_that_compose_asks_for_are_those_that_the_readme_makes() -> None:
    made = re.search(r"cat > \.env <<end\n(.*?)\nend\n", README.read_text(), re.DOTALL)
    asked = re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text())

    assert made
    assert {line.partition("=")[0] for line in made[1].splitlines()} == set(asked)


def test_every_command_of_make_that_is_named_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for document in (README, ROOT / "CONTRIBUTING.md"):
        named = re.findall(r"(?:^|`)make ([a-z]+(?: [a-z]+)*)", document.read_text(), re.MULTILINE)

        assert named
        for target in (target for each in named for target in each.split()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_order_of_the_page_is_the_order_of_a_newcomers_questions() -> None:
    headings = re.findall(r"^## (.+)$", README.read_text(), re.MULTILINE)

    assert headings == [
        "What it guarantees, and what not",
        "The rush",
        "Two commands",
        "A walk with curl",
        "What it looks like",
        "What else it does",
        "Architecture on one screen",
        "Settings",
        "Operating",
        "Tests",
        "Limits",
    ]
