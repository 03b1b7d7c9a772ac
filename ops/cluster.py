"""A Redis Cluster of embedded Valkeys: three masters, each with a replica that takes its place when it is away."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis
from redis.crc import key_slot

from ops.errors import ServerError
from ops.ports import LOOPBACK, free_port
from ops.valkey import EmbeddedValkey

MASTERS = 3
SLOTS = 16_384
FORMING_SECONDS_MAX = 60
POLL_SECONDS = 0.05
CALL_SECONDS_MAX = 10


class EmbeddedClusterNode(EmbeddedValkey):
    """One node, with a port for the other nodes beside the one for clients."""

    def __init__(self, home: Path, *, port: int, bus_port: int, password: str, node_timeout_ms: int) -> None:
        super().__init__(home, port=port, password=password)
        self.bus_port = bus_port
        self.node_timeout_ms = node_timeout_ms

    @property
    def configuration(self) -> tuple[str, ...]:
        return (
            *super().configuration,
            f"masterauth {self.password}",
            "cluster-enabled yes",
            f"cluster-port {self.bus_port}",
            f"cluster-node-timeout {self.node_timeout_ms}",
            # A shard that is lost takes its own sales with it, and no others.
            "cluster-require-full-coverage no",
            # Some seconds of an old master's absence are no reason to stay behind for good.
            "cluster-replica-validity-factor 0",
            "repl-diskless-sync-delay 0",
        )

    def connect(self) -> redis.Redis:
        """A client of this node alone."""
        return redis.Redis(
            host=LOOPBACK,
            port=self.port,
            password=self.password,
            socket_timeout=CALL_SECONDS_MAX,
            decode_responses=True,
        )

    def cluster_info(self) -> dict[str, str]:
        with self.connect() as client:
            return dict(client.cluster("info"))

    @property
    def is_master(self) -> bool:
        with self.connect() as client:
            return bool(client.info("replication")["role"] == "master")


class EmbeddedCluster:
    """Six nodes under one directory; `start` forms the cluster, and a node that was killed may be started again."""

    def __init__(self, home: Path, *, password: str, node_timeout_ms: int = 5_000) -> None:
        """A replica takes a master's place when it was silent for `node_timeout_ms`, and a moment more."""
        taken: set[int] = set()
        self.nodes: list[EmbeddedClusterNode] = []
        for number in range(2 * MASTERS):
            port, bus_port = (_take(taken) for _ in range(2))
            self.nodes.append(
                EmbeddedClusterNode(
                    home / f"node{number}",
                    port=port,
                    bus_port=bus_port,
                    password=password,
                    node_timeout_ms=node_timeout_ms,
                )
            )
        self.password = password

    @property
    def url(self) -> str:
        nodes = ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{self.password}@{nodes}"

    def start(self) -> Self:
        """Start the nodes and wait until each of them says that the cluster is whole; raises ServerError."""
        with ExitStack() as undo:
            for node in self.nodes:
                undo.callback(node.stop)
                node.start()
            self._form()
            undo.pop_all()
        return self

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def master_of(self, key: str) -> EmbeddedClusterNode:
        """The node that has this key now, by what most of the others say."""
        slot, ports = key_slot(key.encode()), []
        for node in self._alive():
            with node.connect() as client:
                ports += [port for start, end, port, _ in _slots(client) if start <= slot <= end]
        port = max(set(ports), key=ports.count)
        return next(node for node in self.nodes if node.port == port)

    def replica_of(self, master: EmbeddedClusterNode) -> EmbeddedClusterNode:
        """The node that copies this one."""
        for node in self._alive():
            with node.connect() as client:
                about: dict[str, Any] = client.info("replication")
            if about["role"] == "slave" and about["master_port"] == master.port:
                return node
        raise ServerError(f"nobody copies the node at {master.port}")

    def wait_until_whole(self, copies: int = 1) -> None:
        """Return when every master has `copies` replicas that are up to date, and every node knows of all of them."""
        _until(lambda: all(self._is_whole(node, copies) for node in self._alive()), "the cluster is not whole")

    def _is_whole(self, node: EmbeddedClusterNode, copies: int) -> bool:
        if node.cluster_info()["cluster_state"] != "ok":
            return False
        with node.connect() as client:
            known = [replicas for *_, replicas in _slots(client)]
        return all(replicas >= copies for replicas in known) and (not node.is_master or self._copies_of(node) >= copies)

    def _copies_of(self, master: EmbeddedClusterNode) -> int:
        with master.connect() as client:
            about: dict[str, Any] = client.info("replication")
        copies = [each for name, each in about.items() if name.startswith("slave") and isinstance(each, dict)]
        return sum(each["state"] == "online" for each in copies)

    def _alive(self) -> list[EmbeddedClusterNode]:
        return [node for node in self.nodes if node.pid is not None]

    def _form(self) -> None:
        first = self.nodes[0]
        masters, replicas = self.nodes[:MASTERS], self.nodes[MASTERS:]
        for number, node in enumerate(masters):
            low, high = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS - 1
            with node.connect() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", low, high)
                # An order among them from the start: else the first minutes of a cluster are spent on one.
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        with first.connect() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER MEET", LOOPBACK, node.port, node.bus_port)
        _until(lambda: all(self._knows_all(node) for node in self.nodes), "the nodes do not find each other")
        for master, replica in zip(masters, replicas, strict=True):
            with master.connect() as client:
                name = client.execute_command("CLUSTER MYID")
            with replica.connect() as client:
                client.execute_command("CLUSTER REPLICATE", name)
        self.wait_until_whole()

    def _knows_all(self, node: EmbeddedClusterNode) -> bool:
        about = node.cluster_info()
        return int(about["cluster_known_nodes"]) == len(self.nodes) and int(about["cluster_size"]) == MASTERS


def _take(taken: set[int]) -> int:
    port = free_port(taken=taken)
    taken.add(port)
    return port


def _slots(client: redis.Redis) -> Iterator[tuple[int, int, int, int]]:
    """First and last slot of each range, the port of its master, and how many replicas of it are known."""
    found: list[Any] = client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
    for start, end, (_, port, *_), *replicas in found:
        yield start, end, port, len(replicas)


def _until(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + FORMING_SECONDS_MAX
    while True:
        try:
            if is_so():
                return
        except redis.RedisError as error:
            otherwise = f"{otherwise} ({error})"
        if time.monotonic() > deadline:
            raise ServerError(otherwise)
        time.sleep(POLL_SECONDS)
