"""Redis: the clients of this process. Every call is bounded, and none that admits a request is ever repeated."""

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from models.once import once
from models.settings import settings

# What Redis raises when it is away, still loading, or too slow to be waited for.
REDIS_AWAY = (RedisConnectionError, RedisTimeoutError)

BIGINT_DIGITS = 18


def _connect(retry: Retry, timeout_seconds: float | None) -> Redis:
    known = settings()
    return Redis.from_url(
        known.redis_url,
        decode_responses=True,
        # What is no text was not written by us: whoever reads it finds that it is nothing, and is not stopped by it.
        encoding_errors="replace",
        socket_connect_timeout=known.redis_timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_keepalive=True,
        retry=retry,
        max_connections=256,
    )


def read_count(text: object) -> int | None:
    """The number that a key of ours holds, from 0 up; None where there is none, or something else was left there."""
    is_count = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= BIGINT_DIGITS
    return int(text) if is_count else None  # type: ignore[call-overload]


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
