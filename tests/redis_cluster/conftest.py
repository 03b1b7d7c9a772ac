"""The shop on a real Redis Cluster: three masters, three replicas."""

import pytest

from models.redisclient import redis_client
from ops.throwaway import embedded_cluster
from tests.cluster.switching import settings_of

NODE_TIMEOUT_MS = 3_000


@pytest.fixture(scope="module")
def cluster():
    with embedded_cluster(node_timeout_ms=NODE_TIMEOUT_MS) as running:
        yield running


@pytest.fixture(scope="module")
def servers(servers, cluster):
    """The servers of this test process, with the cluster in the place of its Redis, which stays Celery's broker."""
    with settings_of(REDIS_URL=cluster.url, BROKER_URL=servers.valkey.url):
        yield servers


@pytest.fixture(autouse=True)
def _knows_the_masters(servers, cluster):
    """A machine that stood still may have had a failover of its own; what asks every master has to hear of it."""
    cluster.wait_until_whole()
    redis_client().learn()
