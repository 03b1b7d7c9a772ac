"""Which account a server runs as, and what that account can reach.

PostgreSQL refuses to run as root. When we are root, it borrows an account that exists (`postgres`, else `nobody`);
nothing is ever added to the system's users, and no directory of anybody else is opened up for it.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple, TypedDict

from ops.errors import OpsError

BORROWED_ACCOUNTS = ("postgres", "nobody")
ROOT_STATE_DIR = Path("/var/lib/doorbuster")
STAND_IN_NOTE = "stand-in"  # a file in a home that says where its stand-in is
PROBE_SECONDS_MAX = 30


class PopenAccount(TypedDict, total=False):
    """The keywords with which subprocess runs a command as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


class Account(NamedTuple):
    """A system account by its numbers."""

    uid: int
    gid: int

    @property
    def popen(self) -> PopenAccount:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def become(self) -> None:
        """Turn this process into the account's, for good. Call it right before exec."""
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)


def unprivileged_account(data: Path) -> Account | None:
    """The account that PostgreSQL runs as, or None for our own.

    An existing cluster keeps its owner, for the server refuses a directory that another account owns.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    accounts = {entry.pw_name: Account(entry.pw_uid, entry.pw_gid) for entry in pwd.getpwall()}
    for name in BORROWED_ACCOUNTS:
        if name in accounts:
            return accounts[name]
    raise OpsError("PostgreSQL does not run as root and there is no account `nobody`: run as another user")


def can_run(account: Account | None, program: Path) -> bool:
    """Whether the account gets through every directory above `program` and may execute it."""
    return account is None or _succeeds_as(account, [str(program), "--version"])


def can_enter(account: Account | None, directory: Path) -> bool:
    """Whether the account gets through every directory above `directory` and into it."""
    return account is None or _succeeds_as(account, ["/bin/sh", "-c", 'cd "$0"', str(directory)])


def home_for(account: Account | None, home: Path) -> Path:
    """`home`, or a directory under /var/lib that stands for it when the account cannot get there.

    So it is for a checkout under root's own 0700 home: opening that to everybody is not ours to do.
    """
    place = known_place(home)
    if place != home or can_enter(account, home):
        return place
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
    ROOT_STATE_DIR.mkdir(parents=True, exist_ok=True)
    ROOT_STATE_DIR.chmod(0o711)
    stand_in = ROOT_STATE_DIR / digest
    stand_in.mkdir(exist_ok=True)
    stand_in.chmod(0o711)
    (home / STAND_IN_NOTE).write_text(f"{stand_in}\n")
    return stand_in


def known_place(home: Path) -> Path:
    """Where the files of `home` are: in its stand-in, if an earlier run made one, else in itself."""
    note = home / STAND_IN_NOTE
    stand_in = Path(note.read_text().strip()) if note.is_file() else home
    return stand_in if stand_in.parent == ROOT_STATE_DIR and stand_in.is_dir() else home


def remove_home(home: Path) -> None:
    """Remove a server's home, and its stand-in if it has one."""
    shutil.rmtree(known_place(home), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def _succeeds_as(account: Account, command: list[str]) -> bool:
    try:
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            timeout=PROBE_SECONDS_MAX,
            **account.popen,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
