"""Redis as the broker, without what kombu does anew for every message.

kombu makes a client of redis-py for each thing that it asks, with the table of all of Redis's answers in it, and throws
it away: a third of a millisecond each time, and a fifth of what Celery costs around a turn
(docs/decisions/0034-a-turn.md). One that is kept serves as well: it has no state but its pool.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis


class KeptChannel(redis.Channel):
    """A channel that keeps the client by which it asks; the one that waits for messages kombu keeps itself."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        # A pool that was given up took its connections with it.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept


class KeptTransport(redis.Transport):
    """Redis as the broker of those who only send."""

    Channel = KeptChannel


def keep_clients(transport: type[redis.Transport] = KeptTransport) -> None:
    """Have this process's connections to a broker at Redis work so. Other brokers stay as they are."""
    path = f"{transport.__module__}:{transport.__qualname__}"
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), path))
