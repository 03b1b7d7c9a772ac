"""The gate's way to a cluster: connections to each node, taken as models/gateline.py takes those to a single server.

A command is sent again only where it is certain that it did not run: the node said so (MOVED, ASK, TRYAGAIN,
CLUSTERDOWN, LOADING), or nobody took the connection. Whatever else happens on the way is unclear, and told as such.
"""

import random
import threading
import time
from collections.abc import Iterable
from typing import Any

import structlog
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    RedisError,
    SlotNotCoveredError,
    TryAgainError,
)

from models.gateline import Copies, GateLines, NotSentError
from models.redisclient import REDIS_AWAY
from models.rediscluster import PAUSE_SECONDS_MAX, ClusterAwayError, ClusterClient
from models.settings import settings

log = structlog.get_logger()

# What a node says that ran nothing, and what is known before anything is sent.
DID_NOT_RUN = (NotSentError, SlotNotCoveredError, BusyLoadingError, TryAgainError, ClusterDownError)
# How often a command that did not run is sent again, if there is time: a slot moves once, seldom twice.
TRIES_MAX = 12
# The nodes are asked who has which keys at most so often, however many find that they do not know.
LEARN_SECONDS = 0.1


class ClusterLines:
    """Connections of this process to the nodes of a cluster."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._lines: dict[str, GateLines] = {}
        self._lock = threading.Lock()
        self._learning = threading.Lock()
        self._learnt_at = 0.0
        self._patience_seconds = settings().redis_timeout_seconds

    def call(self, command: Iterable[str | int], *, key: str, copies: Copies | None = None) -> Any:
        """Send a command to the shard that has the key and return its answer, as GateLines.call does.

        Raises redis errors, and NotReplicatedError; ClusterAwayError where nobody would run it for as long as a call
        may take.
        """
        command = tuple(command)
        slot = self._client.keyslot(key)  # type: ignore[no-untyped-call]
        ends_at = time.monotonic() + self._patience_seconds
        redirected: tuple[str, int] | None = None
        why: Exception | None = None
        for _ in range(TRIES_MAX):
            asking, place, redirected = redirected is not None, redirected, None
            try:
                return self._lines_at(*(place or self._place_of(slot))).call(command, copies=copies, asking=asking)
            except MovedError as moved:
                why = moved
                self._client.nodes_manager.move_slot(moved)
            except AskError as asked:
                # While a slot moves: there this once, and the next one here again.
                why, redirected = asked, (asked.host, asked.port)
            except DID_NOT_RUN as down:
                why = down
                if time.monotonic() > ends_at:
                    break
                time.sleep(random.uniform(0, PAUSE_SECONDS_MAX))  # noqa: S311 - no secret
                self._learn()
            except REDIS_AWAY:
                # It may have run.
                self._learn()
                raise
        raise ClusterAwayError(f"nobody ran it: {why}") from why

    def close(self) -> None:
        for lines in list(self._lines.values()):
            lines.close()

    def _place_of(self, slot: int) -> tuple[str, int]:
        node = self._client.nodes_manager.get_node_from_slot(slot)
        return node.host, node.port

    def _lines_at(self, host: str, port: int) -> GateLines:
        name = f"{host}:{port}"
        lines = self._lines.get(name)
        if lines is None:
            with self._lock:
                if (lines := self._lines.get(name)) is None:
                    nodes = self._client.nodes_manager
                    node = nodes.create_redis_node(host, port, **nodes.connection_kwargs)  # type: ignore[no-untyped-call]
                    lines = GateLines(node)
                    self._lines[name] = lines
        return lines

    def _learn(self) -> None:
        """Find out who has which keys, unless somebody does or just did; what stays unknown is asked for again."""
        if not self._learning.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._learnt_at > LEARN_SECONDS:
                self._client.learn()
        except RedisError as error:
            log.warning("gate.cluster_unknown", error=str(error)[:200])
        finally:
            self._learnt_at = time.monotonic()
            self._learning.release()
