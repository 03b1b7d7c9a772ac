"""Redis as a place where an accepted request is on the disk, and stays there."""

from collections.abc import Iterator
from typing import Any, cast

from redis.exceptions import RedisError, ResponseError

from models.doctor.finding import Finding, critical, warning
from models.redisclient import redis_client

VERSION_MIN = 7
# The share of maxmemory from which on a rush may fill the rest.
MEMORY_SHARE_MAX = 0.7
# Web, live and workers keep up to 256 connections each; what allows fewer than this is made for something else.
CLIENTS_MIN = 1_000
WHAT_ALONE = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "maxclients")


def away() -> Finding | None:
    try:
        redis_client().ping()
    except RedisError as error:
        return went_away(error)
    return None


def went_away(error: Exception) -> Finding:
    what = f"Redis does not answer ({type(error).__name__})"
    return critical("REDIS_AWAY", what, "start it, or mend REDIS_URL; buyers get 503 until then")


def look() -> Iterator[Finding]:
    known = cast(dict[str, Any], redis_client().info())
    yield from _state(known)
    try:
        settings = {name: _setting(name) for name in WHAT_ALONE}
    except ResponseError:  # hosted Redis often allows no CONFIG
        what = "Redis does not let its settings be read"
        yield warning("REDIS_SETTINGS_UNKNOWN", what, "ask its host: appendonly yes, appendfsync always, noeviction")
        return
    yield from _durability(settings)
    yield from _memory(settings, known)
    if int(settings["maxclients"]) < CLIENTS_MIN:
        what = f"Redis takes {settings['maxclients']} clients (maxclients)"
        yield warning("REDIS_FEW_CLIENTS", what, f"CONFIG SET maxclients {CLIENTS_MIN * 10}, and raise its open files")


def _setting(name: str) -> str:
    return str(cast(dict[str, str], redis_client().config_get(name))[name])


def _state(known: dict[str, Any]) -> Iterator[Finding]:
    version = str(known["redis_version"])
    if int(version.partition(".")[0]) < VERSION_MIN:
        yield critical("REDIS_OLD", f"Redis is {version}", f"Redis {VERSION_MIN} or Valkey 8 or later")
    if known["role"] != "master":
        what = "REDIS_URL names a replica, which takes no writes"
        yield critical("REDIS_READ_ONLY", what, "name the primary, or promote this one: REPLICAOF NO ONE")
    if known.get("aof_last_write_status", "ok") != "ok" or known.get("aof_last_bgrewrite_status", "ok") != "ok":
        what = "Redis could not write its append-only file the last time"
        yield critical("REDIS_CANNOT_WRITE", what, "make room on its disk; its log says more")


def _durability(settings: dict[str, str]) -> Iterator[Finding]:
    if settings["appendonly"] != "yes":
        what = "Redis keeps nothing on the disk (appendonly no): a restart loses every request that waits"
        yield critical("REDIS_NOT_APPENDING", what, "CONFIG SET appendonly yes, and in its configuration")
    elif settings["appendfsync"] != "always":
        what = f"Redis answers before the disk has it (appendfsync {settings['appendfsync']}): a 202 is no promise"
        yield critical("REDIS_NOT_FSYNCED", what, "CONFIG SET appendfsync always, and in its configuration")


def _memory(settings: dict[str, str], known: dict[str, Any]) -> Iterator[Finding]:
    if settings["maxmemory-policy"] != "noeviction":
        what = f"Redis may throw requests that wait away (maxmemory-policy {settings['maxmemory-policy']})"
        yield critical("REDIS_EVICTS", what, "CONFIG SET maxmemory-policy noeviction; a cache needs a Redis of its own")
    memory_max, used = int(settings["maxmemory"]), int(known["used_memory"])
    if memory_max and used > memory_max * MEMORY_SHARE_MAX:
        what = f"Redis uses {used >> 20} of its {memory_max >> 20} MiB (maxmemory): a rush may fill the rest"
        yield warning("REDIS_MEMORY_TIGHT", what, "raise maxmemory, or take a larger machine")
