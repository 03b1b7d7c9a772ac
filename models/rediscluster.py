"""redis-py's client of a cluster, in the words of the rest of the house.

It knows which node has which keys, follows them when they move, and asks again (a bounded number of times) while a
replica takes a dead master's place. A node that says nothing is waited for once. What it raises beside redis errors is
told as them, so that whoever can do without one Redis can do without a shard of it.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, ClusterPipeline, NodesManager, RedisCluster
from redis.exceptions import AskError, ClusterError, RedisClusterException, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from models.redisurl import parse_cluster

T = TypeVar("T")

# Before a question is asked again, at most: all who failed at once do not come back at once.
PAUSE_SECONDS_MAX = 0.1

# The cluster cannot be reached, has nobody for these keys, or has not yet found out who that is.
UNSETTLED = (RedisClusterException, ClusterError, TryAgainError, AskError, OSError)


class ClusterAwayError(RedisConnectionError):
    """The shard that is asked for has nobody who answers at this moment. Nothing ran."""


class ClusterClient(RedisCluster):
    """Raises redis errors alone, ClusterAwayError among them. What failed is asked again for no longer than one answer
    may take (`socket_timeout`)."""

    def __init__(self, url: str, *, retry: Retry, **options: Any) -> None:
        address = parse_cluster(url)
        known = options | address.options
        self.patience_seconds = float(known["socket_timeout"])
        self.tries = 1 + retry.get_retries()
        with _told_as_redis_errors():
            super().__init__(
                startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],  # type: ignore[no-untyped-call]
                # redis-py's own tries know no end in time, and multiply: those of a pipeline by those of its commands.
                retry=Retry(NoBackoff(), 0),
                # A shard that is lost takes its own sales with it, and no others.
                require_full_coverage=False,
                **known,
            )
        # redis-py makes its own.
        self.nodes_manager.__class__ = _Nodes

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        question = partial(super().execute_command, *args, **kwargs)
        if "target_nodes" in kwargs:
            return self.ask(question, 1, math.inf)
        if self.command_flags.get(args[0]) == self.DEFAULT_NODE:
            # Any node would do: one that says nothing is a reason to ask another.
            return self.ask(question, max(self.tries, 2), math.inf)
        return self.ask(question, self.tries, time.monotonic() + self.patience_seconds)

    def ask(self, question: Callable[[], T], tries: int, ends_at: float) -> T:
        """The answer of the first of so many tries that has one. None of them begins after `ends_at` (monotonic)."""
        with _told_as_redis_errors():
            while True:
                tries -= 1
                asked_of_any = self.get_default_node()  # type: ignore[no-untyped-call]
                try:
                    return question()
                except self.ERRORS_ALLOW_RETRY as error:
                    # Those that are of a kind of their own, such as a wrong password, stay as they are.
                    if not tries or type(error) not in self.ERRORS_ALLOW_RETRY or time.monotonic() > ends_at:
                        raise
                    if self.get_default_node() == asked_of_any:  # type: ignore[no-untyped-call]
                        self.replace_default_node()
                    time.sleep(random.uniform(0, PAUSE_SECONDS_MAX))  # noqa: S311 - no secret

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> "_Pipeline":
        made = super().pipeline(transaction, shard_hint)  # type: ignore[no-untyped-call]
        # redis-py makes its own, from fourteen things that belong to this client.
        made.__class__ = _Pipeline
        made.client, made.parent_execute_command = self, made.ask_alone
        return made  # type: ignore[no-any-return]

    def learn(self) -> None:
        """Ask the nodes anew who has which keys."""
        with _told_as_redis_errors():
            self.nodes_manager.initialize()


class _Nodes(NodesManager):
    """Puts the shard that failed last behind the others: whoever asks the nodes who has which keys waits for each that
    says nothing, and what any node could answer is asked of the first master."""

    _last: tuple[str, ...] = ()

    def move_node_to_end_of_cached_nodes(self, node_name: str) -> None:
        with self._lock:
            shard = next((nodes for nodes in self.slots_cache.values() if nodes[0].name == node_name), [])
            self._last = (node_name, *(node.name for node in shard))
            self._put_last()

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        with self._lock:
            self._put_last()
            self.default_node = self.get_nodes_by_server_type("primary")[0]

    def _put_last(self) -> None:
        for name in self._last:
            super().move_node_to_end_of_cached_nodes(name)


class _Pipeline(ClusterPipeline):
    """Asks all of its shards at once, and is no transaction. A shard that says nothing is waited for once, and not for
    each of its commands."""

    client: ClusterClient
    _ends_at = 0.0
    _has_learnt = False

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - redis-py's own
        self._ends_at, self._has_learnt = time.monotonic() + self.client.patience_seconds, False
        question = partial(self.send_cluster_commands, self._execution_strategy.command_queue, raise_on_error)
        try:
            answers = self.client.ask(question, self.client.tries, self._ends_at)
        finally:
            self.reset()  # type: ignore[no-untyped-call]
        return [ClusterAwayError(str(each)) if isinstance(each, UNSETTLED) else each for each in answers]

    def ask_alone(self, *args: Any, **options: Any) -> Any:
        """What redis-py does about each command that found its keys elsewhere, or no answer."""
        if time.monotonic() < self._ends_at:
            return self.client.execute_command(*args, **options)
        if not self._has_learnt:
            self._has_learnt = True
            self.nodes_manager.move_node_to_end_of_cached_nodes(self.get_nodes_from_slot(args[0], *args)[0].name)
            self.client.learn()
        raise RedisTimeoutError("it was not answered in time, and is not asked again")

    def _get_command_keys(self, *args: Any) -> list[Any]:
        """Without asking a node which of these are keys: it would be one more trip each, and to any shard, also to one
        that is lost."""
        if args[0] == "EVAL":
            return list(args[3 : 3 + int(args[2])])
        if args[0] == "XREAD":
            streams = args[args.index(b"STREAMS") + 1 :]
            return list(streams[: len(streams) // 2])
        return super()._get_command_keys(*args)  # type: ignore[no-any-return, no-untyped-call]


@contextmanager
def _told_as_redis_errors() -> Iterator[None]:
    try:
        yield
    except UNSETTLED as error:
        raise ClusterAwayError(str(error)) from error
