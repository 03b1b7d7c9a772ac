"""What lies on many shards, asked shard by shard: a lost one is waited for once, and the others go on.

A single Redis is all the shards there are, and where it is away nobody goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.exceptions import RedisClusterException

from models.redisclient import REDIS_AWAY, redis_client
from models.rediscluster import ClusterAwayError, ClusterClient

T = TypeVar("T")
R = TypeVar("R")

# In the place of the name of a shard: no node has these keys.
NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Lost:
    """A shard that did not answer: what it was lost with, and what was not asked about for that."""

    error: Exception
    missed: list[Any]


class Shards:
    """One round at the shards. `lost` has those that did not answer, by the names of their nodes."""

    def __init__(self) -> None:
        self.lost: dict[str, Lost] = {}
        self._is_any_there = False

    def ask(self, things: Sequence[T], key: Callable[[T], str], question: Callable[[list[T], Any], R]) -> list[R]:
        """What `question` says of each shard's things, told its node (None for a single Redis).

        A shard that is lost is not asked again in this round. Raises redis errors where a single Redis is away.
        """
        client: Any = redis_client()
        if not isinstance(client, ClusterClient):
            return [question(list(things), None)] if things else []
        answers = []
        for name, (node, some) in _by_shard(client, things, key).items():
            if name in self.lost:
                self.lost[name].missed.extend(some)
                continue
            try:
                if node is None:
                    _look_for_somebody(client)
                answers.append(question(some, node))
                self._is_any_there = True
            except REDIS_AWAY as error:
                self.lost[name] = Lost(error, some)
        return answers

    def raise_without_any(self) -> None:
        """Raises what the first shard was lost with, if none was there."""
        if self.lost and not self._is_any_there:
            raise next(iter(self.lost.values())).error


def now_ms(node: Any) -> int:
    """The clock of this node, or of the only Redis (ms since the epoch). Raises redis errors."""
    client: Any = redis_client()
    seconds, microseconds = client.time(target_nodes=[node]) if node else client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _by_shard(client: ClusterClient, things: Sequence[T], key: Callable[[T], str]) -> dict[str, tuple[Any, list[T]]]:
    shards: dict[str, tuple[Any, list[T]]] = {}
    for thing in things:
        try:
            node = client.get_node_from_key(key(thing))  # type: ignore[no-untyped-call]
        except RedisClusterException:
            node = None
        shards.setdefault(node.name if node else NOBODY, (node, []))[1].append(thing)
    return shards


def _look_for_somebody(client: ClusterClient) -> None:
    """Raises in any case: who has these keys is known in the next round."""
    client.learn()
    raise ClusterAwayError("no node has these keys")
