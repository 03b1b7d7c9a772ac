"""A small disk for PostgreSQL's data, so that it can be filled: a tmpfs where this account may mount one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

DISK_MB = 768
MOUNT_SECONDS_MAX = 10
FILLER = "filler"
# What a page cache keeps for files that are open already is not ours to take: leave nothing else.
FILL_STEP_BYTES = 64 * 1024


class SmallDisk:
    """A directory whose disk can be filled and freed; `is_real` says whether it is a disk of its own."""

    def __init__(self, place: Path, megabytes: int = DISK_MB) -> None:
        self.place = place
        self.megabytes = megabytes
        self.is_real = False

    def mount(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and sys.platform.startswith("linux"):
            self.is_real = _run(
                "mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m,mode=0711", "tmpfs", str(self.place)
            )
        self.place.chmod(0o711)  # PostgreSQL may run as another account

    def fill(self) -> None:
        """Take every byte that is left. Only where `is_real`."""
        # Without a buffer: what is left in one is written again by its close, which fails too.
        with (self.place / FILLER).open("wb", buffering=0) as filler:
            while (left := shutil.disk_usage(self.place).free) > 0:
                try:
                    os.posix_fallocate(filler.fileno(), filler.seek(0, os.SEEK_END), max(FILL_STEP_BYTES, left))
                except OSError:
                    break
            # The last pages, which a single large request would not get.
            filler.seek(0, os.SEEK_END)
            try:
                while True:
                    filler.write(b"\0" * FILL_STEP_BYTES)
            except OSError:
                return

    def free(self) -> None:
        (self.place / FILLER).unlink(missing_ok=True)

    def unmount(self) -> None:
        if self.is_real:
            _run("umount", "--lazy", str(self.place))
            self.is_real = False


def unmount_left_behind(prefix: str, temporary: Path) -> None:
    """Unmount the disks of rigs that were killed before they could: `<prefix><pid>-…` of processes that are gone."""
    for home in temporary.glob(f"{prefix}*-*"):
        owner = home.name.removeprefix(prefix).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            _run("umount", "--lazy", str(home / "disk"))


def _run(*command: str) -> bool:
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=MOUNT_SECONDS_MAX
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
