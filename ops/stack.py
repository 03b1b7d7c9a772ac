"""The running stack, for whoever works with it from another shell: `make buyers`, `make rush`, the benchmarks."""

import json
import os
from pathlib import Path

from models.settings import Settings, settings
from ops.checks import load_settings
from ops.errors import OpsError
from ops.state import DataDir, write_private


def write_stack(data_dir: DataDir, environment: dict[str, str]) -> None:
    """Leave word of what the stack was started with: its settings by their environment names."""
    write_private(data_dir.stack, json.dumps(environment, indent=2) + "\n")


def running_environment(path: Path | None = None) -> dict[str, str]:
    """The settings of the stack that runs in DATA_DIR (or in `path`), by their environment names.

    Raises OpsError, whose text is one line for the operator, when none runs there.
    """
    data_dir = DataDir.at(path or load_settings().data_dir)
    try:
        environment: dict[str, str] = json.loads(data_dir.stack.read_text())
    except (OSError, ValueError):
        environment = {}
    if not environment or not data_dir.is_locked():
        raise OpsError(f"no stack runs in {data_dir.path}: start one with `make run`, or say where with DATA_DIR=")
    return environment


def running_stack(path: Path | None = None) -> Settings:
    """The settings of the stack that runs in DATA_DIR (or in `path`), ports and URLs included; raises OpsError."""
    return Settings(**{name.lower(): value for name, value in running_environment(path).items()})  # type: ignore[arg-type]


def adopt_running_stack(path: Path | None = None) -> Settings:
    """Make the running stack's settings those of this process and of its children; raises OpsError.

    For a command that goes on to use `models`, which asks `models.settings.settings()`.
    """
    os.environ.update(running_environment(path))
    settings.cache_clear()
    return settings()
