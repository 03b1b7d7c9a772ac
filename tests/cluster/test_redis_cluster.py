"""The shop on a real Redis Cluster: three masters, three replicas, and one of the masters is killed in a rush."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count

import pytest
from flask import Flask
from redis.crc import key_slot
from redis.exceptions import ReadOnlyError
from sqlalchemy import select

from models import mailbox, rediskeys, sales
from models.audit import audit_sale
from models.clock import now
from models.database import transaction
from models.desk import read_desk
from models.doctor import redis_server
from models.errors import DomainError
from models.gate import Checks, Limit, TooOftenError, admit, ask
from models.gateline import NotReplicatedError
from models.generations import tell_again
from models.lines import read_lines
from models.purchase import Kind, Purchase
from models.purchases import find_purchase
from models.redisclient import REDIS_AWAY, read_many, redis_client
from models.rediscluster import ClusterAwayError
from models.restored import reconcile
from models.revocations import Spent, is_revoked, revoke, revoked_among, spend, tell_generation
from models.settings import Settings, SettingsError, settings
from models.settle import settle_turn
from models.velocity import Attempt, questions_about
from ops.throwaway import embedded_cluster
from ops.throwaway_shop import throwaway_shop
from tests.cluster.switching import settings_of
from web.auth import Identity, issue_access_token
from web.errors import refuse
from web.news import NewsReader

NODE_TIMEOUT_MS = 3_000
PATIENCE_SECONDS = 60
buyers = count(1_000)
LATE = (1, 2, 3)


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


def eventually(is_so, what):
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.05)


def refusal(sale, quantity=1, user_id=1, checks=None, key=None):
    with pytest.raises(DomainError) as caught:
        ask(sale.id, user_id, Kind.PURCHASE, quantity, checks=checks, idempotency_key=key).admission()
    return caught.value.code


class TestTheAddress:
    @pytest.mark.parametrize(
        "url",
        [
            "redis+cluster://",
            "redis+cluster://host:port",
            "redis+cluster://a:1,,b:2",
            "redis+cluster://:secret@a:1,b:99999",
            "redis+cluster://a:1/3",
        ],
    )
    def test_one_that_cannot_be_read_is_refused_without_its_password(self, url):
        with pytest.raises(ValueError, match=r"(?i)redis_url") as wrong:
            Settings(redis_url=url, broker_url="redis://b")
        assert "secret" not in str(wrong.value)

    @pytest.mark.parametrize("broker", ["", "redis+cluster://a:1"])
    def test_a_cluster_is_no_place_for_celery(self, broker, monkeypatch):
        monkeypatch.setenv("REDIS_URL", "redis+cluster://a:1,b:2")
        monkeypatch.setenv("BROKER_URL", broker)
        settings.cache_clear()
        try:
            with pytest.raises(SettingsError, match="BROKER_URL"):
                settings()
            monkeypatch.setenv("BROKER_URL", "amqp://broker")
            settings.cache_clear()
            assert settings().celery_broker_url == "amqp://broker"
        finally:
            monkeypatch.undo()
            settings.cache_clear()

    def test_a_start_without_a_broker_says_what_is_missing_in_a_line(self):
        given = os.environ | {
            "REDIS_URL": "redis+cluster://a:1,b:2",
            "BROKER_URL": "",
            "DATABASE_URL": "postgresql://x",
        }
        asked = [sys.executable, "-c", "import celeryconfig"]
        done = subprocess.run(asked, env=given, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode != 0
        assert "BROKER_URL must be set beside a cluster in REDIS_URL" in done.stderr.splitlines()[-1]


class TestTheGate:
    def test_a_sale_is_on_one_shard_and_sales_are_on_all(self, make_sale, cluster):
        names = (rediskeys.view, rediskeys.mailbox, rediskeys.awake, rediskeys.events, rediskeys.counts)
        tenants = [make_sale() for _ in range(12)]
        for sale in tenants:
            assert len({key_slot(name(sale.id).encode()) for name in names}) == 1
            assert admit(sale.id, 1, Kind.PURCHASE, 1).ticket == 1
        assert len({cluster.master_of(rediskeys.view(sale.id)).port for sale in tenants}) == 3

    def test_its_refusals_are_those_of_one_server(self, make_sale):
        assert refusal(make_sale(opens_in=timedelta(hours=1))) == "NOT_STARTED"
        assert refusal(make_sale(opens_in=timedelta(hours=-1), lasts=timedelta(minutes=1))) == "ENDED"
        for change, code in ((sales.pause_sale, "PAUSED"), (sales.end_sale, "ENDED"), (sales.cancel_sale, "ENDED")):
            sale = make_sale()
            change(sale.id)
            assert refusal(sale) == code
        assert refusal(make_sale(total_stock=2), quantity=3) == "INSUFFICIENT_STOCK"
        assert refusal(make_sale(max_per_purchase=2), quantity=3) == "LIMIT_EXCEEDED"
        sale = make_sale()
        redis_client().delete(rediskeys.view(sale.id))
        assert admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="once").ticket == 1
        assert admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="once").replayed
        assert refusal(sale, quantity=2, key="once") == "IDEMPOTENCY_KEY_REUSED"
        sale.id = 999_999
        assert refusal(sale) == "SALE_NOT_FOUND"

    def test_who_asks_is_counted_and_judged_on_the_shards_of_their_keys(self, make_sale):
        sale, limits = make_sale(), (Limit(2, 60),)
        asked = [ask(sale.id, 7, Kind.PURCHASE, 1, checks=Checks("j", 0, limits)).admission().left for _ in range(2)]
        assert asked == [1, 0]
        with pytest.raises(TooOftenError):
            ask(sale.id, 7, Kind.PURCHASE, 1, checks=Checks("j", 0, limits)).admission()
        revoke(8, "given back", now() + timedelta(hours=1))
        assert refusal(sale, user_id=8, checks=Checks("given back", 0)) == "TOKEN_REVOKED"
        tell_generation(9, 2)
        assert refusal(sale, user_id=9, checks=Checks("j", 1)) == "TOKEN_REVOKED"
        assert mailbox.find(sale.id, 3) is None

    def test_velocity_refuses_and_a_retry_is_answered_as_before(self, make_sale):
        sale = make_sale()
        with settings_of(VELOCITY_ACCOUNTS_FLAG="2", VELOCITY_ACCOUNTS_REFUSE="3"):

            def checks(user_id):
                return Checks("j", 0, (Limit(5, 60),), questions_about(Attempt(user_id, sale.id, "192.0.2.1")))

            first = ask(sale.id, 1, Kind.PURCHASE, 1, checks=checks(1), idempotency_key="once").admission()
            flagged = ask(sale.id, 2, Kind.PURCHASE, 1, checks=checks(2))
            assert [finding.is_new for finding in flagged.findings] == [True]
            assert refusal(sale, user_id=3, checks=checks(3)) == "VELOCITY_REFUSED"
            redis_client().zrem(rediskeys.velocity_address("192.0.2.1"), 1)
            redis_client().zadd(rediskeys.velocity_address("192.0.2.1"), {"4": 4102444800000})
            assert refusal(sale, user_id=1, checks=checks(1)) == "VELOCITY_REFUSED"
            again = ask(sale.id, 1, Kind.PURCHASE, 1, checks=checks(1), idempotency_key="once").admission()
            assert (again.ticket, again.replayed, again.left) == (first.ticket, True, 2)

    def test_a_shard_that_says_nothing_is_asked_once(self, make_sale, cluster):
        """And is not asked again though others answer: its answer may only be late, as it is here."""
        sale = make_sale()
        admit(sale.id, 1, Kind.PURCHASE, 1)
        frozen = cluster.master_of(rediskeys.view(sale.id))
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            with pytest.raises(REDIS_AWAY):
                admit(sale.id, 2, Kind.PURCHASE, 1)
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        cluster.wait_until_whole()
        assert redis_client().xlen(rediskeys.mailbox(sale.id)) <= 2


class TestWhereASlotMoves:
    def test_everybody_is_admitted_once_before_and_after_and_nobody_twice(self, make_sale, cluster):
        """While its keys are on their way (TRYAGAIN, ASK) nothing runs; once they are there (MOVED) it goes on."""
        sale = make_sale()
        admit(sale.id, 1, Kind.PURCHASE, 1)
        slot = key_slot(rediskeys.view(sale.id).encode())
        source = cluster.master_of(rediskeys.view(sale.id))
        target = next(node for node in cluster.nodes if node.is_master and node is not source)
        with source.connect() as there, target.connect() as here:
            names = [client.execute_command("CLUSTER MYID") for client in (there, here)]
            here.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
            there.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
            with pytest.raises(ClusterAwayError):
                admit(sale.id, 2, Kind.PURCHASE, 1)
            moved = there.execute_command("CLUSTER GETKEYSINSLOT", slot, 1_000)
            auth = ("AUTH", cluster.password)
            there.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, *auth, "KEYS", *moved)
            with pytest.raises(ClusterAwayError):
                admit(sale.id, 2, Kind.PURCHASE, 1)
            for client in (here, there):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])
        assert admit(sale.id, 2, Kind.PURCHASE, 1).ticket == 2
        assert cluster.master_of(rediskeys.view(sale.id)) is target
        assert settle_turn(sale.id).confirmed == 2
        assert audit_sale(sale.id).agrees


class TestWhatTouchesManyShards:
    def test_tokens_of_many_users(self, store, make_user):
        over_at = now() + timedelta(hours=1)
        tokens = [Identity(each, "customer", f"j{each}", 0, over_at) for each in range(1, 40)]
        revoke(7, "j7", over_at)
        tell_generation(9, 1)
        assert [each.user_id for each in revoked_among(tokens)] == [7, 9]
        assert is_revoked("j7", 7, 0)
        assert not is_revoked("j7", 8, 0)
        assert [spend(3, "j", over_at), spend(3, "j", over_at)] == [Spent.NOW, Spent.AGAIN]
        users = [make_user(token_generation=1, tokens_refused_at=now() - timedelta(seconds=each)) for each in range(9)]
        assert tell_again() == 9
        assert read_many([rediskeys.generation(user.id) for user in users]) == ["1"] * 9

    def test_the_lines_of_many_sales(self, make_sale):
        tenants = [make_sale() for _ in range(9)]
        for sale in tenants:
            admit(sale.id, 1, Kind.PURCHASE, 1)
        assert set(mailbox.oldest_waits([sale.id for sale in tenants])) == {sale.id for sale in tenants}
        assert {line.sale_id for line in read_lines()} == {sale.id for sale in tenants}
        assert read_desk(tenants[0].id).line.waiting == 1
        # Those of a sale that PostgreSQL never heard of are forgotten, on whatever shard they are.
        redis_client().set("{sale:424242}:view", "?")
        done = reconcile()
        assert (done.sales, done.waiting, done.unknown_sales) == (9, 9, 1)
        assert all(settle_turn(sale.id).confirmed == 1 for sale in tenants)

    def test_the_doctor_looks_at_every_node(self, store, cluster):
        assert [finding.code for finding in redis_server.look()] == []
        away = cluster.replica_of(cluster.master_of("{sale:1}:view"))
        away.kill()
        try:
            found = {finding.code for finding in redis_server.look()}
            assert "CLUSTER_NODE_AWAY" in found
            eventually(lambda: ("REPLICAS_MISSING", "warning") in self.found(), "it is missed")
            with settings_of(REDIS_WAIT_REPLICAS="1"):
                eventually(lambda: ("REPLICAS_MISSING", "critical") in self.found(), "and without it nobody may buy")
        finally:
            away.start()
            cluster.wait_until_whole()

    @staticmethod
    def found():
        return {(finding.code, str(finding.severity)) for finding in redis_server.look()}


class Buyers:
    """Threads of buyers, each with a key of their own, who ask again where nobody could say; what each was told."""

    def __init__(self, sale_id, threads=6):
        self.sale_id = sale_id
        self.accepted = {}
        self.unclear = 0
        self.unsafe = 0
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._buy_for_ever) for _ in range(threads)]

    def _buy_for_ever(self):
        while not self._is_over.is_set():
            user_id = next(buyers)
            while not self._is_over.is_set():
                try:
                    admission = admit(self.sale_id, user_id, Kind.PURCHASE, 1, idempotency_key="once")
                except NotReplicatedError:
                    self.unsafe += 1
                except REDIS_AWAY:
                    self.unclear += 1
                else:
                    self.accepted[user_id] = admission.ticket
                    break
                time.sleep(0.02)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def wait_for(self, more):
        wanted = len(self.accepted) + more
        eventually(lambda: len(self.accepted) >= wanted, f"{more} more are accepted")


def settle_all(sale_id):
    def is_settled():
        with suppress(*REDIS_AWAY):
            settle_turn(sale_id)
            return not redis_client().xlen(rediskeys.mailbox(sale_id))
        return False

    eventually(is_settled, "everybody has an outcome")


def outcomes(sale_id):
    with transaction() as session:
        rows = session.execute(select(Purchase.user_id, Purchase.status).where(Purchase.sale_id == sale_id)).all()
    assert len({user_id for user_id, _ in rows}) == len(rows), "nobody has two"
    return {user_id for user_id, _ in rows}


@contextmanager
def failed_over(cluster, sale_id):
    """The master of a sale is killed; in the block its replica has its place, behind it there are two again."""
    master = cluster.master_of(rediskeys.view(sale_id))
    replica = cluster.replica_of(master)
    master.kill()
    try:
        eventually(lambda: cluster.master_of(rediskeys.view(sale_id)) is replica, "the replica takes its place")
        yield
    finally:
        bring_back(master, cluster)


def bring_back(master, cluster):
    master.start()
    cluster.wait_until_whole()


class TestAMasterIsKilledInARush:
    def test_what_was_accepted_behind_a_replica_is_not_lost(self, make_sale, cluster):
        sale = make_sale(total_stock=100_000)
        with settings_of(REDIS_WAIT_REPLICAS="1", REDIS_WAIT_MS="300"), Buyers(sale.id) as rush:
            rush.wait_for(200)
            settle_turn(sale.id)
            rush.wait_for(100)
            with failed_over(cluster, sale.id):
                # Nobody is accepted while nobody copies the new master: the old one comes back as its replica.
                eventually(lambda: rush.unclear + rush.unsafe > 0, "somebody heard of it")
            rush.wait_for(200)
        settle_all(sale.id)
        assert rush.accepted.keys() <= outcomes(sale.id)
        assert audit_sale(sale.id).agrees

    def test_a_master_that_is_asked_to_step_back_loses_nobody_though_no_replica_is_waited_for(self, make_sale, cluster):
        """As before a restart: it takes nothing until its replica has everything, and then that one is the master."""
        sale = make_sale(total_stock=100_000)
        replica = cluster.replica_of(cluster.master_of(rediskeys.view(sale.id)))
        with Buyers(sale.id) as rush:
            rush.wait_for(100)
            with replica.connect() as client:
                client.execute_command("CLUSTER FAILOVER")
            eventually(lambda: cluster.master_of(rediskeys.view(sale.id)) is replica, "it steps back")
            rush.wait_for(100)
        settle_all(sale.id)
        assert rush.accepted.keys() <= outcomes(sale.id)
        assert audit_sale(sale.id).agrees

    @pytest.mark.parametrize("replicas", [0, 1])
    def test_what_no_replica_had_is_lost_unless_replicas_are_waited_for(self, make_sale, cluster, replicas):
        """The replica is cut off from its master, so that what it misses is known; then the master goes for good."""
        sale = make_sale(total_stock=100_000)
        master = cluster.master_of(rediskeys.view(sale.id))
        replica = cluster.replica_of(master)
        early = self._ask_for(20, sale)[0]
        eventually(lambda: _waiting_at(replica, sale) == len(early), "the replica has them")
        with settings_of(REDIS_WAIT_REPLICAS=str(replicas), REDIS_WAIT_MS="100"), _cut_off(replica, master):
            late, unsafe = self._ask_for(10, sale)
            master.kill()
            eventually(lambda: cluster.master_of(rediskeys.view(sale.id)) is replica, "the replica takes its place")
        settle_all(sale.id)
        lost = (early | late) - outcomes(sale.id)
        bring_back(master, cluster)
        # Those who were told that nobody knows ask again, with the same key, and get one place each.
        again, _ = self._ask_for(0, sale, unsafe)
        settle_all(sale.id)

        if replicas:
            assert (len(unsafe), late, lost) == (10, set(), set())
        else:
            assert (len(late), lost) == (10, late), "exactly what no replica had"
        assert again == unsafe
        assert (early | late | unsafe) - lost == outcomes(sale.id)
        assert admit(sale.id, next(buyers), Kind.PURCHASE, 1).ticket == len(outcomes(sale.id)) + 1
        assert audit_sale(sale.id).agrees

    def test_tickets_that_a_replica_never_heard_of_are_given_out_twice_and_nobody_is_lost(self, make_sale, cluster):
        """They were settled before the master went: whoever gets one again lines up anew, under a new one."""
        sale = make_sale(total_stock=100_000)
        master = cluster.master_of(rediskeys.view(sale.id))
        replica = cluster.replica_of(master)
        early = self._ask_for(5, sale)[0]
        eventually(lambda: _waiting_at(replica, sale) == len(early), "the replica has them")
        with _cut_off(replica, master):
            settled = self._ask_for(5, sale)[0]
            assert settle_turn(sale.id).confirmed == 10
            master.kill()
            eventually(lambda: cluster.master_of(rediskeys.view(sale.id)) is replica, "the replica takes its place")
        late = {user_id: admit(sale.id, user_id, Kind.PURCHASE, 1, idempotency_key="once").ticket for user_id in LATE}
        assert sorted(late.values()) == [6, 7, 8]
        settle_all(sale.id)
        bring_back(master, cluster)

        assert outcomes(sale.id) == early | settled | late.keys()
        for user_id, ticket in late.items():
            found = find_purchase(sale.id, ticket, viewer_id=user_id)
            assert (found.user_id, found.status) == (user_id, "confirmed")
            again = admit(sale.id, user_id, Kind.PURCHASE, 1, idempotency_key="once")
            assert (again.replayed, again.ticket) == (True, found.ticket)
        assert audit_sale(sale.id).agrees

    def test_a_master_that_must_have_replicas_takes_nothing_without_them(self, make_sale, cluster):
        """min-replicas-to-write, the other way: nobody has a place of whom nobody else knows."""
        sale = make_sale()
        master = cluster.master_of(rediskeys.view(sale.id))
        replica = cluster.replica_of(master)
        with master.connect() as client:
            client.config_set("min-replicas-to-write", 1)
            try:
                admit(sale.id, 1, Kind.PURCHASE, 1)
                with _cut_off(replica, master):
                    for checks in (None, Checks("j", 0, (Limit(5, 60),), questions_about(Attempt(2, sale.id, "a")))):
                        with pytest.raises(ReadOnlyError):
                            ask(sale.id, 2, Kind.PURCHASE, 1, checks=checks)
                assert redis_client().xlen(rediskeys.mailbox(sale.id)) == 1
                cluster.wait_until_whole()
                assert admit(sale.id, 2, Kind.PURCHASE, 1).ticket == 2
            finally:
                client.config_set("min-replicas-to-write", 0)

    def test_a_place_that_is_not_safe_is_told_with_when_to_ask_again(self):
        with Flask("nothing").test_request_context():
            answer = refuse(NotReplicatedError())
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json["code"] == "NOT_REPLICATED"

    @staticmethod
    def _ask_for(number, sale, users=()):
        """Who of some new buyers, or of these, was accepted, and who was told that nobody knows."""
        accepted, unsafe = set(), set()
        for user_id in users or [next(buyers) for _ in range(number)]:
            try:
                admit(sale.id, user_id, Kind.PURCHASE, 1, idempotency_key="once")
                accepted.add(user_id)
            except NotReplicatedError:
                unsafe.add(user_id)
        return accepted, unsafe


def _waiting_at(node, sale):
    with node.connect() as client:
        client.execute_command("READONLY")
        return client.xlen(rediskeys.mailbox(sale.id))


@contextmanager
def _cut_off(replica, master):
    """The replica hears of the cluster, and nothing of what its master writes."""
    with replica.connect() as client, master.connect() as other:
        client.config_set("masterauth", "another password")
        other.execute_command("CLIENT", "KILL", "TYPE", "replica")
        eventually(lambda: client.info("replication")["master_link_status"] == "down", "it is cut off")
        try:
            yield
        finally:
            client.config_set("masterauth", replica.password)


class Ear:
    """A listener of one process that writes down what it hears."""

    def __init__(self):
        self.heard = []

    def wants(self, _sale_id):
        return True

    def hear(self, sale, _outcomes):
        self.heard.append(sale.sale_id)

    def missed(self):
        pass


def test_the_news_of_every_shard_reach_whoever_listens_on_one(make_sale):
    ear, reader = Ear(), NewsReader()
    reader.add(ear)
    assert reader.wait_until_connected(PATIENCE_SECONDS)
    tenants = {make_sale().id for _ in range(9)}
    eventually(lambda: tenants <= set(ear.heard), "all sales are heard of")


@pytest.fixture(scope="module")
def shop(servers, tmp_path_factory):
    with throwaway_shop(tmp_path_factory.mktemp("shop")) as running:
        yield running


class TestAWholeShop:
    @staticmethod
    def send(shop, path, body, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE_SECONDS)
        told = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request("POST", path, json.dumps(body), told)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        return answer.status, said

    def test_it_sells_while_a_master_is_away(self, shop, make_sale, make_user, cluster):
        sale, path = make_sale(), "/api/flash-sales/{}/purchases"

        def buy(user_id):
            told = {"Authorization": f"Bearer {issue_access_token(user_id, 'customer')}", "Prefer": "wait=20"}
            return self.send(shop, path.format(sale.id), {}, Idempotency_Key="once", **told)

        users = [make_user().id for _ in range(3)]
        status, said = buy(users[0])
        assert (status, said["data"]["status"]) == (201, "confirmed")
        with failed_over(cluster, sale.id):
            for user_id in users[1:]:
                eventually(lambda user_id=user_id: buy(user_id)[1]["data"]["status"] == "confirmed", "it goes on")
        assert outcomes(sale.id) == set(users)
        assert audit_sale(sale.id).agrees

    def test_the_other_routes_are_limited_on_the_cluster(self, shop, store):
        tried = {"email": "nobody@shop.test", "password": "a wrong password"}
        statuses = [self.send(shop, "/api/auth/login", tried)[0] for _ in range(6)]
        assert statuses == [401] * 5 + [429]
        assert list(redis_client().scan_iter(match=f"*{rediskeys.LIMITS_PREFIX}*", count=1_000))
