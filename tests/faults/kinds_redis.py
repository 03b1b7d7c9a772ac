"""Faults of Redis: killed, frozen, full, read-only, restored from an older copy of its append-only file."""

import asyncio
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from tests.faults.kinds import Site, fault
from tests.faults.oracle import Restore

APPEND_ONLY_FOLDER = "appendonlydir"
NOWHERE = ("127.0.0.1", "1")
COMMAND_SECONDS_MAX = 60.0
ANSWER_POLL_SECONDS = 0.05


@fault("kill-redis", "kill -9 of Redis, back after up to three seconds")
async def kill_redis(site: Site) -> None:
    await asyncio.to_thread(site.stack.redis.kill)
    await site.hold(0.0, 3.0)
    await asyncio.to_thread(site.stack.revive)


@fault("freeze-redis", "Redis stopped for longer than anybody waits for it, then continued")
async def freeze_redis(site: Site) -> None:
    pid = site.stack.redis.pid
    if pid is None:
        return
    frozen = psutil.Process(pid)
    frozen.suspend()
    await site.hold(2.0, 6.0)
    with suppress(psutil.NoSuchProcess):
        frozen.resume()


@fault("redis-full", "Redis out of memory: it answers, and takes nothing more", may_be_second=True)
async def redis_full(site: Site) -> None:
    await _configured(site, "maxmemory", "1", "0")


@fault("redis-read-only", "Redis is a replica of a master that is not there: it can be read alone")
async def redis_read_only(site: Site) -> None:
    await asyncio.to_thread(_command, site, "REPLICAOF", *NOWHERE)
    await site.hold(1.0, 3.0)
    await asyncio.to_thread(_command, site, "REPLICAOF", "NO", "ONE")


@fault("redis-no-replicas", "Redis wants replicas that are not there before it takes a write")
async def redis_no_replicas(site: Site) -> None:
    await _configured(site, "min-replicas-to-write", "1", "0")


@fault("restore-redis", "Redis killed and restored from a copy of its append-only file made a moment ago")
async def restore_redis(site: Site) -> None:
    copied_at = time.monotonic()
    data = site.stack.redis.data
    copy = site.stack.home / "older-copy"
    await asyncio.to_thread(_copy_append_only_file, data / APPEND_ONLY_FOLDER, copy)
    await site.hold(0.2, 1.5)
    await asyncio.to_thread(site.stack.redis.kill)
    await asyncio.to_thread(_put_back, copy, data / APPEND_ONLY_FOLDER)
    await _come_back(site, copied_at)


@fault("empty-redis", "Redis killed and back without anything that it knew")
async def empty_redis(site: Site) -> None:
    """A restore from a copy made before the rush: all that waits may be forgotten, nothing that is settled."""
    await asyncio.to_thread(site.stack.redis.kill)
    await asyncio.to_thread(shutil.rmtree, site.stack.redis.data / APPEND_ONLY_FOLDER)
    await _come_back(site, 0.0)


async def _come_back(site: Site, copied_at: float) -> None:
    """Start Redis again when the answers that it gave while it lived have arrived, or nobody waits for them any more.

    One that came later would look as if the Redis that is back had given it, which may forget nothing.
    """
    asked = set(site.ledger.in_hand)
    while asked & site.ledger.in_hand:
        await asyncio.sleep(ANSWER_POLL_SECONDS)
    site.restores.append(Restore(copied_at, time.monotonic()))
    await asyncio.to_thread(site.stack.revive)


def _copy_append_only_file(folder: Path, copy: Path) -> None:
    """A copy of a file that is being written ends anywhere: Redis cuts a torn end off when it reads it."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)


def _put_back(copy: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)


async def _configured(site: Site, name: str, during: str, after: str) -> None:
    await asyncio.to_thread(_command, site, "CONFIG", "SET", name, during)
    await site.hold(1.0, 3.0)
    await asyncio.to_thread(_command, site, "CONFIG", "SET", name, after)


def _command(site: Site, *words: str) -> None:
    """One command of an operator's, tried until Redis takes it: another fault may have it at this moment."""
    end = time.monotonic() + COMMAND_SECONDS_MAX
    while time.monotonic() < end:
        with suppress(redis.ConnectionError, redis.TimeoutError), site.stack.keys() as client:
            client.execute_command(*words)
            return
        time.sleep(0.2)
