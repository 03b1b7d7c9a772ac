"""A shard is lost and nobody takes its place: its sales wait for it, and no others do."""

import os
import signal
import time
from contextlib import contextmanager

import pytest

from models import rediskeys
from models.gate import admit
from models.purchase import Kind
from models.redisclient import REDIS_AWAY, redis_client
from models.schedule import sweep_lines
from tests.cluster.switching import settings_of
from tests.redis_cluster.conftest import NODE_TIMEOUT_MS
from tests.redis_cluster.rush import PATIENCE_SECONDS, eventually
from web.news import NewsReader

TIMEOUT_SECONDS = 0.5
SALES = 30


@contextmanager
def lost(cluster, key, *, is_silent=True):
    """The shard of this key is gone, or says nothing: its master, and its replica, which could take its place."""
    master = cluster.master_of(key)
    nodes = [master, cluster.replica_of(master)]
    for node in reversed(nodes):
        if is_silent:
            os.kill(node.pid, signal.SIGSTOP)
        else:
            node.kill()
    try:
        yield master
    finally:
        for node in nodes:
            if is_silent:
                os.kill(node.pid, signal.SIGCONT)
            else:
                node.start()
        cluster.wait_until_whole()


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
def test_the_sweeper_finds_the_lines_of_all_other_shards(make_sale, cluster, is_silent):
    tenants = [make_sale() for _ in range(SALES)]
    for sale in tenants:
        admit(sale.id, 1, Kind.PURCHASE, 1)
    homes = {sale.id: cluster.master_of(rediskeys.view(sale.id)) for sale in tenants}
    eventually(lambda: {line.sale_id for line in sweep_lines()} == set(homes), "all have waited long enough")
    with settings_of(REDIS_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS)):
        sweep_lines()
        with lost(cluster, rediskeys.view(tenants[0].id), is_silent=is_silent) as master:
            others = {sale_id for sale_id, home in homes.items() if home is not master}
            began = time.monotonic()
            assert {line.sale_id for line in sweep_lines()} == others
            took_seconds = time.monotonic() - began
            # And so it stays once the others know that it is lost.
            time.sleep(2 * NODE_TIMEOUT_MS / 1000)
            assert {line.sale_id for line in sweep_lines()} == others
        eventually(lambda: {line.sale_id for line in sweep_lines()} == set(homes), "its own are found when it is back")
    assert took_seconds < (SALES - len(others)) * TIMEOUT_SECONDS, "not a wait for each of its sales"


def test_without_any_shard_the_sweeper_says_so(make_sale, cluster):
    make_sale()
    with settings_of(REDIS_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS)):
        redis_client().ping()
        for node in cluster.nodes:
            os.kill(node.pid, signal.SIGSTOP)
        try:
            with pytest.raises(REDIS_AWAY):
                sweep_lines()
        finally:
            for node in cluster.nodes:
                os.kill(node.pid, signal.SIGCONT)
            cluster.wait_until_whole()


class Ear:
    def wants(self, _sale_id):
        return True

    def hear(self, _sale, _outcomes):
        pass

    def missed(self):
        pass


def test_a_reader_of_the_news_finds_a_node_that_is_there(servers, cluster):
    """The lost one is the node that has the slot of the news' pattern."""
    with settings_of(REDIS_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS)), lost(cluster, rediskeys.NEWS_PATTERN):
        reader = NewsReader()
        reader.add(Ear())
        assert reader.wait_until_connected(PATIENCE_SECONDS / 2)
