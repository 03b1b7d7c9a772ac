"""Where the processes of `make run` count together for /metrics: in memory where there is some, and empty at the start.

In memory, because a file that is written through a map ends its process when the disk is full; empty, because counts of
a former run would be added to this one's.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from ops.state import DataDir

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own in it, named after DATA_DIR


def metrics_directory(data_dir: DataDir) -> Path:
    """The directory of this stack, and of no other on this machine."""
    if IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK):
        name = hashlib.sha256(os.fsencode(data_dir.path)).hexdigest()[:16]
        return IN_MEMORY / f"doorbuster-metrics-{name}"
    return data_dir.path / "metrics"


def forget_counts(directory: Path) -> None:
    """Remove what was counted, and the directory unless somebody keeps something else there."""
    for file in directory.glob("*.db"):
        file.unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()
