"""This machine: room on its disks, and how many files a process may open, for every waiting buyer is one."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from models.doctor.finding import Finding, critical, warning
from models.settings import settings

OPEN_FILES_MIN = 10_000
FREE_SHARE_WARNING = 0.10
FREE_SHARE_CRITICAL = 0.02
FREE_BYTES_MIN = 1 << 30


def look() -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_MIN:
        what = f"a process here may open {hard} files, and every waiting buyer is one"
        yield warning(
            "FEW_OPEN_FILES", what, "`ulimit -n 65536` where it is started (compose: ulimits, systemd: LimitNOFILE)"
        )
    yield from disk(settings().data_dir)


def disk(place: Path) -> Iterator[Finding]:
    """Whether the disk that holds `place` has room; where there is no such place, its disk is another machine's."""
    if not place.exists():
        return
    room = shutil.disk_usage(place)
    share = room.free / room.total
    if share >= FREE_SHARE_WARNING and room.free >= FREE_BYTES_MIN:
        return
    what = f"the disk of {place} has {room.free >> 20} of {room.total >> 20} MiB left"
    kind = critical if share < FREE_SHARE_CRITICAL else warning
    yield kind("DISK_FULL", what, "make room: a full disk stops Redis and PostgreSQL in the middle of a sale")
