"""Where a figure comes from: the machine, the versions, the commit. A figure without these is a rumour."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from models.clock import now, to_iso

ROOT = Path(__file__).parents[1]
PACKAGES = ("flask", "granian", "gunicorn", "gevent", "celery", "redis", "sqlalchemy", "psycopg", "orjson")
GIT_SECONDS_MAX = 10


def surroundings() -> dict[str, Any]:
    """Everything about here and now that a reader needs to judge a figure. `load` is of the minute before."""
    return {
        "at": to_iso(now()),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommittedChanges": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memoryGiB": round(psutil.virtual_memory().total / 2**30, 1),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "load": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - whichever git the reader has
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=GIT_SECONDS_MAX,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
