"""Redis: the clients of this process. Every call is bounded, and none that admits a request is ever repeated.

Where REDIS_URL names a cluster, its client stands in the place of the one for a single server: what is asked here, both
know.
"""

from collections.abc import Sequence
from typing import Any, cast

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from models.once import once
from models.rediscluster import ClusterClient
from models.settings import settings

# What Redis raises when it is away, still loading, or too slow to be waited for.
REDIS_AWAY = (RedisConnectionError, RedisTimeoutError)

BIGINT_DIGITS = 18
CONNECTIONS_MAX = 256
# While a replica takes its master's place, the client of a cluster waits a quarter of a second between two tries.
CLUSTER_RETRIES = 3


def _connect(retry: Retry, timeout_seconds: float | None) -> Redis:
    known = settings()
    options: dict[str, Any] = {
        "decode_responses": True,
        # What is no text was not written by us: whoever reads it finds that it is nothing, and is not stopped by it.
        "encoding_errors": "replace",
        "socket_connect_timeout": known.redis_timeout_seconds,
        "socket_timeout": timeout_seconds,
        "socket_keepalive": True,
        "max_connections": CONNECTIONS_MAX,
    }
    if known.redis_is_cluster:
        retries = Retry(NoBackoff(), CLUSTER_RETRIES if retry.get_retries() else 0)
        return cast(Redis, ClusterClient(known.redis_url, retry=retries, **options))
    return Redis.from_url(known.redis_url, retry=retry, **options)


def read_count(text: object) -> int | None:
    """The number that a key of ours holds, from 0 up; None where there is none, or something else was left there."""
    is_count = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= BIGINT_DIGITS
    return int(text) if is_count else None  # type: ignore[call-overload]


def read_many(keys: Sequence[str]) -> list[str | None]:
    """The strings under these keys, in one trip to each shard that has any. Raises redis errors."""
    client: Any = redis_client()
    many = client.mget_nonatomic if isinstance(client, ClusterClient) else client.mget
    return cast(list[str | None], many(keys))


def redis_servers() -> dict[str, Redis]:
    """Every server by its name: the one, or all nodes of a cluster, also those that nobody reaches."""
    client: Any = redis_client()
    if not isinstance(client, ClusterClient):
        return {"Redis": client}
    return {f"Redis at {node.name}": client.get_redis_connection(node) for node in client.get_nodes()}  # type: ignore[no-untyped-call]


@once
def redis_client() -> Redis:
    """For reads and for steps that may run twice: tried again once, after a moment with jitter."""
    return _connect(Retry(ExponentialWithJitterBackoff(cap=0.1, base=0.02), 1), settings().redis_timeout_seconds)


@once
def gate_client() -> Redis:
    """For the gate: never tried again, because a request whose answer was lost may have been admitted."""
    return _connect(Retry(NoBackoff(), 0), settings().redis_timeout_seconds)


def listening_client(timeout_seconds: float) -> Redis:
    """A client of one's own for blocking reads of at most so many seconds."""
    return _connect(Retry(NoBackoff(), 0), timeout_seconds + settings().redis_timeout_seconds)
