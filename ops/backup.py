"""`make backup OUT=folder`: a copy of the running stack's two servers, also in the middle of a rush.

Redis is copied first, PostgreSQL second, and the order is the point: whatever had left Redis by the time of its copy is
in PostgreSQL's, so that every request that was accepted before the backup began is in one of the two. The other way
round, a request could be settled between the copies and be in neither. docs/backup.md says more.

The copy holds no password of the stack, but everything that the shop knows: keep it like the database.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from models.clock import now, to_iso
from ops.arguments import Parser
from ops.checks import load_settings
from ops.errors import OpsError
from ops.ports import LOOPBACK
from ops.postgres import DATABASE, ROLE, EmbeddedPostgres
from ops.stack import running_environment
from ops.state import DataDir, Secrets
from ops.valkey import EmbeddedValkey

FORMAT = 1
NOTE = "backup.json"
POSTGRES = "postgres"
REDIS = "redis"
COPY_SECONDS_MAX = 3_600
REDIS_TRIES_MAX = 50
REDIS_PAUSE_SECONDS = 0.1


def backup(data_dir: DataDir, out: Path) -> dict[str, object]:
    """Copy the servers of the stack that runs in this directory into the new folder `out`; returns its note.

    The folder appears when the copy is whole and checked, and not before. Raises OpsError.
    """
    if out.exists():
        raise OpsError(f"{out} is there already: choose another folder with OUT=")
    if not out.parent.is_dir():
        raise OpsError(f"there is no directory {out.parent}: make it, or choose another with OUT=")
    postgres, redis = _embedded(data_dir)
    draft = out.with_name(f"{out.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(mode=0o700)
        began = now()
        copy_redis(redis, draft / REDIS)
        copy_postgres(postgres, draft / POSTGRES)
        note: dict[str, object] = {
            "format": FORMAT,
            "began": to_iso(began),
            "ended": to_iso(now()),
            "postgresMajor": postgres.major,
            "migration": _migration(postgres),
        }
        (draft / NOTE).write_text(json.dumps(note, indent=2) + "\n")
        draft.rename(out)
    except OSError as why:
        raise OpsError(f"cannot write {why.filename or out} ({why.strerror}): choose another folder with OUT=") from why
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return note


def copy_redis(redis: EmbeddedValkey, out: Path) -> None:
    """Copy the append-only files that the manifest names, as far as they are written; raises OpsError.

    They only grow, until a rewrite names new ones and removes the old: then what we have is thrown away, and we begin
    again. A last command that was half written is left out by Redis itself when it reads the copy.
    """
    for _ in range(REDIS_TRIES_MAX):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(mode=0o700)
        try:
            manifest = redis.manifest.read_bytes()
            for name in _files_of(manifest.decode()):
                shutil.copyfile(redis.manifest.with_name(name), out / name)
            unchanged = redis.manifest.read_bytes() == manifest
        except FileNotFoundError:
            unchanged = False
        if unchanged:
            (out / redis.manifest.name).write_bytes(manifest)
            return
        time.sleep(REDIS_PAUSE_SECONDS)
    raise OpsError(f"Redis rewrites its files again and again, and none could be copied: see {redis.log}")


def _files_of(manifest: str) -> list[str]:
    """The names in lines like `file appendonly.aof.1.incr.aof seq 1 type i`; history is of no use."""
    words = [line.split() for line in manifest.splitlines() if line.startswith("file ")]
    return [line[1] for line in words if line[-1] != "h"]


def copy_postgres(postgres: EmbeddedPostgres, out: Path) -> None:
    """Copy the cluster with the log that was written meanwhile, and check every file of it; raises OpsError."""
    programs = postgres.shipped_binary.parent
    address = f"host={LOOPBACK} port={postgres.port} user={ROLE} dbname={DATABASE}"
    options = ["--wal-method=stream", "--checkpoint=fast", "--no-password"]
    _run([str(programs / "pg_basebackup"), "--dbname", address, "--pgdata", str(out), *options], postgres.password)
    _run([str(programs / "pg_verifybackup"), "--quiet", str(out)])


def _run(command: list[str], password: str = "") -> None:
    """Run one of PostgreSQL's own programs to its end; the password travels where no other user can read it."""
    name = Path(command[0]).name
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=kept | {"LC_ALL": "C", "PGPASSWORD": password},
            timeout=COPY_SECONDS_MAX,
        )
    except FileNotFoundError as why:
        raise OpsError(f"PostgreSQL came without {name}: install its client programs") from why
    except subprocess.TimeoutExpired as why:
        raise OpsError(f"PostgreSQL's {name} took over {COPY_SECONDS_MAX} s") from why
    if done.returncode != 0:
        raise OpsError(f"PostgreSQL's {name} failed: {' '.join((done.stderr or done.stdout).split())}")


def _embedded(data_dir: DataDir) -> tuple[EmbeddedPostgres, EmbeddedValkey]:
    """The two servers of the running stack, if they are our own; raises OpsError."""
    environment = running_environment(data_dir.path)
    secrets = Secrets.load(data_dir)
    postgres, redis = secrets.postgres(data_dir), secrets.redis(data_dir)
    if (environment["DATABASE_URL"], environment["REDIS_URL"]) != (postgres.url, redis.url):
        raise OpsError("DATABASE_URL or REDIS_URL names servers of your own: docs/backup.md says how to back them up")
    return postgres, redis


def _migration(postgres: EmbeddedPostgres) -> str | None:
    with psycopg.connect(postgres.url, connect_timeout=3) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def main() -> None:
    parser = Parser(prog="make backup", description="Copy the servers of the running stack.")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="the folder to make")
    options = parser.parse_args()
    note = backup(DataDir.at(load_settings().data_dir), options.out.absolute())
    print(f"{options.out} holds everything that was accepted before {note['began']}")


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
