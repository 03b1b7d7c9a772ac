"""`make restore FROM=folder`: a stack that was never run, with the data of a backup; `make run` starts it.

It gets passwords and a JWT key of its own, so that every session of the past has ended: Redis's copy may be older than
a log-out.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ops.arguments import Parser
from ops.backup import FORMAT, NOTE, POSTGRES, REDIS
from ops.checks import load_settings
from ops.errors import OpsError
from ops.processes import MIGRATE
from ops.reset import reset, shown
from ops.run import stack_environment
from ops.state import DataDir, Secrets

JOB_SECONDS_MAX = 900
# Nobody else knows the passwords of these servers. Redis's copy may say that a worker was there a moment ago.
RECONCILE = ["-m", "flask", "--app", "wsgi", "restored", "--alone"]


def restore(data_dir: DataDir, source: Path) -> str:
    """Fill the directory of a stack with a backup and make its two halves agree; returns what that took, in lines.

    Raises OpsError; the directory is then as empty as before.
    """
    note = _read_note(source)
    if any(folder.exists() for folder in (data_dir.postgres, data_dir.redis, data_dir.secrets)):
        raise OpsError(f"{data_dir.path} has the data of a stack: `make reset` first, or another place with DATA_DIR=")
    data_dir.create()
    try:
        with data_dir.locked():
            return _fill(data_dir, source, note)
    except BaseException:
        reset(data_dir)
        raise


def _read_note(source: Path) -> dict[str, object]:
    try:
        note: dict[str, object] = json.loads((source / NOTE).read_text())
    except (OSError, ValueError) as why:
        raise OpsError(f"{source} is no backup of `make backup`: it has no {NOTE} that can be read") from why
    if note.get("format") != FORMAT:
        raise OpsError(f"{source} was made by another version: its format is {note.get('format')}, not {FORMAT}")
    return note


def _fill(data_dir: DataDir, source: Path, note: dict[str, object]) -> str:
    secrets = Secrets.load_or_make(data_dir)
    postgres, redis = secrets.postgres(data_dir), secrets.redis(data_dir)
    if postgres.major != note.get("postgresMajor"):
        raise OpsError(
            f"the backup is PostgreSQL {note.get('postgresMajor')}'s and {postgres.major} is here: "
            "restore it with the version of Doorbuster that made it, then upgrade"
        )
    redis.manifest.parent.mkdir(mode=0o700, parents=True)
    for file in (source / REDIS).iterdir():
        shutil.copyfile(file, redis.manifest.with_name(file.name))
    postgres.adopt(source / POSTGRES)
    environment = os.environ | stack_environment(secrets, data_dir)
    try:
        postgres.start()
        redis.start()
        _do(MIGRATE.command(1), environment)
        return _do(RECONCILE, environment)
    finally:
        redis.stop()
        postgres.stop()


def _do(arguments: list[str], environment: dict[str, str]) -> str:
    """Run a program of ours to its end and return what it prints; raises OpsError with what it complains of."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=JOB_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired as why:
        raise OpsError(f"`python {' '.join(arguments)}` took over {JOB_SECONDS_MAX} s") from why
    if done.returncode != 0:
        raise OpsError(f"`python {' '.join(arguments)}` failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.strip()


def main() -> None:
    parser = Parser(prog="make restore", description="Fill a clean stack with a backup.")
    parser.add_argument(
        "--from", dest="source", type=Path, required=True, metavar="FROM", help="what `make backup` made"
    )
    options = parser.parse_args()
    data_dir = DataDir.at(load_settings().data_dir)
    print(restore(data_dir, options.source.absolute()))
    print(f"{shown(data_dir.path)} holds the backup: `make run` opens the shop. Everybody has to log in again.")


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
