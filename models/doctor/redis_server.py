"""Redis as a place where an accepted request is on the disk, and stays there."""

from collections.abc import Iterator
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from models.doctor.finding import Finding, critical, warning
from models.redisclient import REDIS_AWAY, redis_client, redis_servers
from models.settings import settings as app_settings

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
    """At the one server, or at every node of a cluster."""
    for name, server in redis_servers().items():
        try:
            yield from _look_at(name, server)
        except REDIS_AWAY as error:
            what = f"{name} does not answer ({type(error).__name__}): its shard has one copy less, or none"
            yield critical("CLUSTER_NODE_AWAY", what, "start it; it comes back as a replica and copies what it missed")


def _look_at(name: str, server: Redis) -> Iterator[Finding]:
    known = cast(dict[str, Any], server.info())
    yield from _state(name, known)
    try:
        settings = {each: str(cast(dict[str, str], server.config_get(each))[each]) for each in WHAT_ALONE}
    except ResponseError:  # hosted Redis often allows no CONFIG
        what = f"{name} does not let its settings be read"
        yield warning("REDIS_SETTINGS_UNKNOWN", what, "ask its host: appendonly yes, appendfsync always, noeviction")
        return
    yield from _durability(name, settings)
    yield from _memory(name, settings, known)
    if int(settings["maxclients"]) < CLIENTS_MIN:
        what = f"{name} takes {settings['maxclients']} clients (maxclients)"
        yield warning("REDIS_FEW_CLIENTS", what, f"CONFIG SET maxclients {CLIENTS_MIN * 10}, and raise its open files")


def _state(name: str, known: dict[str, Any]) -> Iterator[Finding]:
    version = str(known["redis_version"])
    if int(version.partition(".")[0]) < VERSION_MIN:
        yield critical("REDIS_OLD", f"{name} is {version}", f"Redis {VERSION_MIN} or Valkey 8 or later")
    if known["role"] != "master" and not known.get("cluster_enabled"):
        what = "REDIS_URL names a replica, which takes no writes"
        yield critical("REDIS_READ_ONLY", what, "name the primary, or promote this one: REPLICAOF NO ONE")
    yield from _replicas(name, known)
    if known.get("aof_last_write_status", "ok") != "ok" or known.get("aof_last_bgrewrite_status", "ok") != "ok":
        what = f"{name} could not write its append-only file the last time"
        yield critical("REDIS_CANNOT_WRITE", what, "make room on its disk; its log says more")


def _replicas(name: str, known: dict[str, Any]) -> Iterator[Finding]:
    """A cluster's master without any leaves its sales with nobody if it goes; too few for WAIT refuse every buyer."""
    wanted = app_settings().redis_wait_replicas
    copies = int(known.get("connected_slaves", 0))
    if known["role"] != "master" or copies >= (wanted or int(known.get("cluster_enabled", 0))):
        return
    cure = "start its replicas, or give it others: CLUSTER REPLICATE"
    if wanted:
        what = f"{name} has {copies} replicas and REDIS_WAIT_REPLICAS is {wanted}: buyers get 503 NOT_REPLICATED"
        yield critical("REPLICAS_MISSING", what, f"{cure}; or lower REDIS_WAIT_REPLICAS")
    else:
        yield warning("REPLICAS_MISSING", f"{name} is a master that nobody copies: if it goes, its sales wait", cure)


def _durability(name: str, settings: dict[str, str]) -> Iterator[Finding]:
    if settings["appendonly"] != "yes":
        what = f"{name} keeps nothing on the disk (appendonly no): a restart loses every request that waits"
        yield critical("REDIS_NOT_APPENDING", what, "CONFIG SET appendonly yes, and in its configuration")
    elif settings["appendfsync"] != "always":
        what = f"{name} answers before the disk has it (appendfsync {settings['appendfsync']}): a 202 is no promise"
        yield critical("REDIS_NOT_FSYNCED", what, "CONFIG SET appendfsync always, and in its configuration")


def _memory(name: str, settings: dict[str, str], known: dict[str, Any]) -> Iterator[Finding]:
    if settings["maxmemory-policy"] != "noeviction":
        what = f"{name} may throw requests that wait away (maxmemory-policy {settings['maxmemory-policy']})"
        yield critical("REDIS_EVICTS", what, "CONFIG SET maxmemory-policy noeviction; a cache needs a Redis of its own")
    memory_max, used = int(settings["maxmemory"]), int(known["used_memory"])
    if memory_max and used > memory_max * MEMORY_SHARE_MAX:
        what = f"{name} uses {used >> 20} of its {memory_max >> 20} MiB (maxmemory): a rush may fill the rest"
        yield warning("REDIS_MEMORY_TIGHT", what, "raise maxmemory, or take a larger machine")
