"""The rig's small disk is full to its last byte when it is filled, and as free as before when it is freed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import FILL_STEP_BYTES, SmallDisk

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PAGES_A_STEP = FILL_STEP_BYTES // PAGE_BYTES


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", megabytes=1)
    disk.mount()
    yield disk
    disk.unmount()


def test_it_is_filled_to_the_last_page_whoever_frees_some_meanwhile(disk, monkeypatch):
    """PostgreSQL gives pages back while its disk is filled: as many as it likes, behind the large request for all."""
    if not disk.is_real:
        pytest.skip("only who may mount a disk has a small one; the rig injects a full one's error for others")
    all_bytes = shutil.disk_usage(disk.place).free
    for pages in range(PAGES_A_STEP + 2):
        (disk.place / "others").write_bytes(b"\0" * (all_bytes - pages * PAGE_BYTES))
        with monkeypatch.context() as patch:
            patch.setattr("os.posix_fallocate", refused)
            disk.fill()

        assert shutil.disk_usage(disk.place).free == 0, f"{pages} pages were left"
        disk.free()
        assert shutil.disk_usage(disk.place).free == pages * PAGE_BYTES


def refused(*_: int) -> None:
    """The pages came free behind the large request."""
    raise OSError
