"""The address of a Redis Cluster: `redis+cluster://[user]:password@host:port,host:port,…[?options]`, or `rediss+…`.

Some nodes suffice, since each knows the others: as many as may be away at once, and one more. Options are redis-py's
own, such as `ssl_ca_certs`.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
PORT = 6379


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where some of a cluster's nodes listen, and what redis-py's client has to be told beside it."""

    nodes: tuple[tuple[str, int], ...]
    options: dict[str, Any]


def is_cluster(url: str) -> bool:
    return url.partition("://")[0] in SCHEMES


def parse_cluster(url: str) -> ClusterAddress:
    """Raises ValueError, whose text is one line without the password."""
    # Here, for settings are read by many who never ask Redis.
    from redis.connection import parse_url  # noqa: PLC0415

    parts = urlsplit(url)
    if parts.path not in ("", "/", "/0"):
        raise ValueError("a cluster has one database: leave out the number behind the nodes")
    user, _, hosts = parts.netloc.rpartition("@")
    nodes, options = [], {}
    for host in hosts.split(","):
        at = f"{user}@{host.strip()}" if user else host.strip()
        try:
            options = dict(parse_url(f"{SCHEMES[parts.scheme]}://{at}?{parts.query}"))  # type: ignore[no-untyped-call]
        except ValueError:
            options = {}
        if not options.get("host"):
            raise ValueError(f"write it as {parts.scheme}://:password@host:port,host:port,…") from None
        nodes.append((str(options.pop("host")), int(options.pop("port", PORT))))
    options.pop("db", None)
    if options.pop("connection_class", None) is not None:
        options["ssl"] = True
    return ClusterAddress(tuple(nodes), options)
