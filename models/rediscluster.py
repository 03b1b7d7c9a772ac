"""redis-py's client of a cluster, in the words of the rest of the house.

It knows which node has which keys, follows them when they move, and asks again (a bounded number of times) while a
replica takes a dead master's place. What it raises beside redis errors is told as them, so that whoever can do without
one Redis can do without a shard of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.exceptions import AskError, ClusterError, CrossSlotTransactionError, RedisClusterException, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from models.redisurl import parse_cluster

# The cluster cannot be reached, has nobody for these keys, or has not yet found out who that is.
UNSETTLED = (RedisClusterException, ClusterError, TryAgainError, AskError, OSError)


class ClusterAwayError(RedisConnectionError):
    """The shard that is asked for has nobody who answers at this moment. Nothing ran."""


class ClusterClient(RedisCluster):
    """Raises redis errors alone, ClusterAwayError among them."""

    def __init__(self, url: str, *, retry: Retry, **options: Any) -> None:
        address = parse_cluster(url)
        with _told_as_redis_errors():
            super().__init__(
                startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],  # type: ignore[no-untyped-call]
                retry=retry,
                # A shard that is lost takes its own sales with it, and no others.
                require_full_coverage=False,
                **(options | address.options),
            )

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        with _told_as_redis_errors():
            return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> "_Pipeline":
        made = super().pipeline(transaction, shard_hint)  # type: ignore[no-untyped-call]
        # redis-py makes its own, from fourteen things that belong to this client.
        made.__class__ = _Pipeline
        return made  # type: ignore[no-any-return]

    def learn(self) -> None:
        """Ask the nodes anew who has which keys."""
        with _told_as_redis_errors():
            self.nodes_manager.initialize()


class _Pipeline(ClusterPipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - redis-py's own
        with _told_as_redis_errors():
            answers = super().execute(raise_on_error)
        return [ClusterAwayError(str(each)) if isinstance(each, UNSETTLED) else each for each in answers]


@contextmanager
def _told_as_redis_errors() -> Iterator[None]:
    try:
        yield
    except CrossSlotTransactionError:
        # Nobody is away: somebody here put keys of two shards into one step.
        raise
    except UNSETTLED as error:
        raise ClusterAwayError(str(error)) from error
