"""The Makefile is the door of the house: it shows itself, and settings get through it."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = {"help", "run", "dev", "reset", "test", "check", "lock", "buyers", "rush", "bench", "migrate", "postman"}
TARGETS |= {"browser", "proxy", "promtool", "pooler", "rabbitmq"}
TARGETS |= {"flask", "screenshots", "wrk", "faults", "fuzz", "backup", "restore", "soak", "scaling"}


def make(*arguments: str, **environment: str) -> str:
    # The make that runs these tests hands its own words on to every make below it.
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=inherited | environment,
        timeout=240,
    )
    return done.stdout


def test_make_alone_lists_every_target() -> None:
    listed = set(re.findall(r"^  make (\w+)", make(), re.MULTILINE))

    assert listed == TARGETS


def test_every_target_that_is_listed_can_be_made() -> None:
    for target in sorted(TARGETS):
        make("--dry-run", target)


def test_the_numbers_of_a_rush_reach_its_command_both_ways() -> None:
    by_argument = make("--dry-run", "rush", "BUYERS=50", "UNITS=7")
    by_environment = make("--dry-run", "rush", BUYERS="50", UNITS="7")

    assert "--buyers '50' --units '7'" in by_argument
    assert by_argument == by_environment


def test_the_ci_runs_what_the_readme_says_and_nothing_else() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]

    required = "REQUIRE_BROWSER=1 REQUIRE_PROXY=1 REQUIRE_PROMTOOL=1 REQUIRE_POOLER=1"
    assert commands[-3:] == [
        "make browser proxy promtool pooler",
        f"export {required}",
        "exec make check test",
    ]
    readme = (ROOT / "README.md").read_text()
    for told in ("make browser proxy promtool pooler", f"{required} make test", "make check"):
        assert re.search(rf"^{told}\b", readme, re.MULTILINE), told
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
