"""A shard is lost and nobody takes its place: its sales wait for it, and no others do."""

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import count

import pytest
from redis.crc import key_slot
from structlog.testing import capture_logs

from models import mailbox, rediskeys, schedule
from models.clock import now
from models.doctor import examine, sales
from models.gate import admit
from models.generations import tell_again
from models.lines import read_lines
from models.purchase import Kind
from models.readiness import check_readiness
from models.redisclient import REDIS_AWAY, gate_client, read_many, redis_client
from models.schedule import sweep_lines
from ops.cluster import MASTERS, SLOTS
from tests.cluster.switching import settings_of
from tests.hanging import hanging
from tests.redis_cluster.conftest import NODE_TIMEOUT_MS
from tests.redis_cluster.rush import PATIENCE_SECONDS, eventually
from web.news import NewsReader
from worker.chores import tick

TIMEOUT_SECONDS = 0.5
TENANTS = 30
# What meets a lost shard on its way: one answer that does not come, and whatever else a busy machine does meanwhile.
SECONDS_MAX = 4 * TIMEOUT_SECONDS


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


@contextmanager
def impatient():
    with settings_of(REDIS_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS)):
        yield redis_client()


@contextmanager
def taking_less_than(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def shard_of(key):
    """0 for the one that nodes tell of first: whoever wants to know anything asks it first."""
    return key_slot(key.encode()) * MASTERS // SLOTS


@pytest.fixture
def tenants(make_sale, cluster):
    """Sales on every shard, each with a request that has waited for too long, by the shard."""
    by_shard = {number: set() for number in range(MASTERS)}
    for _ in range(TENANTS):
        sale_id = make_sale().id
        admit(sale_id, 1, Kind.PURCHASE, 1)
        by_shard[shard_of(rediskeys.view(sale_id))].add(sale_id)
    eventually(lambda: swept() == set.union(*by_shard.values()), "all have waited long enough")
    return by_shard


def swept():
    return {line.sale_id for line in sweep_lines()}


def all_but(tenants, number):
    return set.union(*tenants.values()) - tenants[number]


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
def test_the_sweeper_finds_the_lines_of_all_other_shards(tenants, cluster, is_silent):
    with impatient():
        sweep_lines()
        with lost(cluster, rediskeys.view(min(tenants[0])), is_silent=is_silent):
            with taking_less_than(SECONDS_MAX):
                assert swept() == all_but(tenants, 0)
            # And so it stays once the others know that it is lost.
            time.sleep(2 * NODE_TIMEOUT_MS / 1000)
            assert swept() == all_but(tenants, 0)
        eventually(lambda: swept() == set.union(*tenants.values()), "its own are found when it is back")


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
@pytest.mark.parametrize("before", ["views", "lines"])
def test_a_shard_that_is_lost_while_it_is_swept_holds_nobody_up(tenants, cluster, monkeypatch, before, is_silent):
    """It still told the time; then all of its sales are asked about in one message."""
    module, name = {"views": (schedule, "_retell"), "lines": (mailbox, "oldest_waits")}[before]
    look, lost_at = getattr(module, name), []
    with impatient(), ExitStack() as losing:
        sweep_lines()

        def lose_it_and_look(asked):
            if tenants[0] & {getattr(each, "sale_id", each) for each in asked}:
                losing.enter_context(lost(cluster, rediskeys.view(min(tenants[0])), is_silent=is_silent))
                lost_at.append(time.monotonic())
            return look(asked)

        monkeypatch.setattr(module, name, lose_it_and_look)
        assert swept() == all_but(tenants, 0)
        assert time.monotonic() - lost_at[0] < SECONDS_MAX


KEY = next(key for key in map(str, count()) if not shard_of(key))


def ask_in_a_pipeline(client):
    pipeline = client.pipeline(transaction=False)
    pipeline.get(KEY)
    return pipeline.execute()


@pytest.mark.parametrize("ask", [lambda client: client.get(KEY), ask_in_a_pipeline], ids=["alone", "pipeline"])
def test_a_shard_that_says_nothing_is_waited_for_once_and_its_replica_not_at_all(store, cluster, ask):
    """Also where it is the first of which nodes tell."""
    with impatient() as client:
        ask(client)
        with lost(cluster, KEY), taking_less_than(2 * TIMEOUT_SECONDS):
            with pytest.raises(REDIS_AWAY):
                ask(client)
            assert client.time()


def test_whoever_asks_several_things_at_once_finds_the_successor_of_a_master_that_said_nothing(store, cluster):
    master = cluster.master_of(KEY)
    replica = cluster.replica_of(master)
    with impatient() as client:
        ask_in_a_pipeline(client)
        with hanging(master.pid):
            eventually(lambda: replica.is_master, "the replica takes its place")
            with pytest.raises(REDIS_AWAY):
                ask_in_a_pipeline(client)
            assert ask_in_a_pipeline(client) == [None]
    cluster.wait_until_whole()


class TestWhatAnyNodeCouldAnswer:
    """The lost shard has the node that redis-py asks for whatever is on no shard."""

    @pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
    def test_is_answered_and_to_processes_that_begin_now(self, store, cluster, is_silent):
        with lost(cluster, KEY, is_silent=is_silent), impatient() as beginner:
            assert beginner.time()
            assert gate_client().time()

    @pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
    def test_keeps_no_worker_from_watching_a_line_of_another_shard(self, make_sale, cluster, is_silent):
        """The keys of an XREAD may be anywhere in it, and redis-py would ask a node where."""
        other = next(sale_id for _ in count() if shard_of(rediskeys.view(sale_id := make_sale().id)))
        with impatient() as client:
            client.time()
            with lost(cluster, KEY, is_silent=is_silent), taking_less_than(SECONDS_MAX):
                for _ in range(3):
                    assert not mailbox.watch(other, 1, announced=False)


@pytest.mark.parametrize("chore", [sweep_lines, tell_again])
def test_without_any_shard_somebody_hears_of_it(make_sale, cluster, chore):
    make_sale()
    with settings_of(REDIS_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS)):
        redis_client().ping()
        for node in cluster.nodes:
            os.kill(node.pid, signal.SIGSTOP)
        try:
            with pytest.raises(REDIS_AWAY):
                chore()
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


class TestTheRefusedTokens:
    @pytest.fixture
    def refused(self, make_user):
        """Accounts on every shard whose tokens are refused since some minutes, by the shard."""
        by_shard = {number: [] for number in range(MASTERS)}
        for _ in range(TENANTS):
            user = make_user(token_generation=1, tokens_refused_at=now() - timedelta(minutes=5))
            by_shard[shard_of(rediskeys.generation(user.id))].append(rediskeys.generation(user.id))
        return by_shard

    @pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
    @pytest.mark.parametrize("knows_how_far", [True, False])
    def test_those_of_all_other_shards_are_told_and_its_own_when_it_is_back(
        self, refused, cluster, knows_how_far, is_silent
    ):
        home = shard_of(rediskeys.GENERATIONS_TOLD)
        number = home if knows_how_far else (home + 1) % MASTERS
        others = [key for shard, keys in refused.items() if shard != number for key in keys]
        with impatient(), lost(cluster, refused[number][0], is_silent=is_silent) as master:
            with capture_logs() as logs, taking_less_than(SECONDS_MAX):
                assert tell_again() == len(others)
            assert [(line["event"], line["shard"]) for line in logs] == [
                ("generations.shard_lost", f"127.0.0.1:{master.port}")
            ]
            assert read_many(others) == ["1"] * len(others)
            redis_client().delete(others[0])
            tell_again()
            assert read_many(others[:1]) == ["1"], "how far everybody was told is not moved meanwhile"
        eventually(lambda: tell_again() == TENANTS, "its own are told with the others")
        assert read_many(refused[number]) == ["1"] * len(refused[number])
        assert tell_again() == 0, "all were told, and minutes ago"


class TestTheDoctor:
    @pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
    def test_it_names_the_sales_that_were_not_reached_and_examines_the_others(
        self, tenants, cluster, monkeypatch, is_silent
    ):
        monkeypatch.setattr(sales, "LINE_WAIT_SECONDS_MAX", 0)
        key = rediskeys.view(min(tenants[0]))
        with impatient(), lost(cluster, key, is_silent=is_silent) as master, taking_less_than(SECONDS_MAX):
            found = [finding for finding in sales.look() if finding.code in ("SHARD_LOST", "LINE_STUCK")]
        stuck = {finding.what.split()[4] for finding in found if finding.code == "LINE_STUCK"}
        assert stuck == {str(sale_id) for sale_id in all_but(tenants, 0)}
        [shard] = [finding for finding in found if finding.code == "SHARD_LOST"]
        assert f"the shard at 127.0.0.1:{master.port} does not answer" in shard.what
        assert f"sales {', '.join(map(str, sorted(tenants[0])))} " in shard.what


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
def test_the_alarms_and_metrics_know_the_lines_of_all_other_shards(tenants, cluster, is_silent):
    with impatient(), lost(cluster, rediskeys.view(min(tenants[0])), is_silent=is_silent):
        assert {line.sale_id for line in read_lines()} == set(all_but(tenants, 0))


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "gone"])
def test_ticks_come_though_the_shard_that_is_told_of_them_is_lost_and_nobody_knows(make_sale, cluster, is_silent):
    while len({shard_of(rediskeys.view(make_sale().id)) for _ in range(MASTERS)}) < MASTERS:
        pass
    with impatient(), lost(cluster, rediskeys.BEAT_HEARTBEAT, is_silent=is_silent):
        with capture_logs() as logs:
            tick()
        assert {line["event"] for line in logs} == {"heartbeat.untold", "sweep.shard_lost"}
        assert check_readiness()["beat"] == "unknown"
        assert {"SHARD_LOST", "CLUSTER_NODE_AWAY"} <= {finding.code for finding in examine()}
