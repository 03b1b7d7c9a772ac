"""The short, fixed set of the fault rig, and a stack for each file of it."""

import os
from collections.abc import Callable, Iterator

import pytest

from models.settings import Settings, settings
from tests.faults.course import Result, plan_of, run_seed
from tests.faults.stack import Stack, fault_stack

# The line must be empty within 15 s on a machine that does nothing else (`make faults`); here others run beside it.
DRAIN_SECONDS_MAX = 180.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A running stack on servers of its own, for one file."""
    Settings.model_config["env_file"] = None
    os.environ.setdefault("JWT_SECRET_KEY", "a key for tests alone, of forty characters")
    with pytest.MonkeyPatch.context() as patch:
        # Ten processes share the machine with other tests: what is slow for a moment is not away.
        patch.setenv("REDIS_TIMEOUT_SECONDS", "4")
        settings.cache_clear()
        with fault_stack() as running:
            yield running
    settings.cache_clear()


@pytest.fixture
def survives(stack: Stack) -> Callable[[str, int], Result]:
    """survives(fault, seed) -> what became of a rush with this fault in its middle; fails if anything was wrong."""

    def run(fault: str, seed: int) -> Result:
        result = run_seed(stack, plan_of(seed, fault), drain_seconds_max=DRAIN_SECONDS_MAX)
        again = f".venv/bin/python -m tests.faults --fault {fault} --seed {seed}"
        assert result.is_right, "\n".join([*result.verdict.complaints[:10], f"again: {again}"])
        assert result.verdict.accepted > 0
        return result

    return run
