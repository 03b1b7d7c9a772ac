"""Each sale on one shard of a real Redis Cluster, buyers on others; what asks all shards, and a whole shop on them."""

import http.client
import json
import os
import signal
from datetime import timedelta

import pytest
from redis.crc import key_slot

from models import mailbox, rediskeys, sales
from models.audit import audit_sale
from models.clock import now
from models.desk import read_desk
from models.doctor import redis_server
from models.errors import DomainError
from models.gate import Checks, GivenBackError, Limit, TooOftenError, admit, ask
from models.generations import tell_again
from models.lines import read_lines
from models.looks import Onlooker, look
from models.purchase import Kind
from models.redisclient import REDIS_AWAY, read_many, redis_client
from models.rediscluster import ClusterAwayError
from models.restored import reconcile
from models.revocations import Spent, is_revoked, revoke, revoked_among, spend, tell_generation
from models.settle import settle_turn
from models.trips import HELD, at_once
from models.velocity import Attempt, questions_about
from ops.throwaway_shop import throwaway_shop
from tests.cluster.switching import settings_of
from tests.redis_cluster.rush import PATIENCE_SECONDS, eventually, failed_over, outcomes
from web.auth import Identity, issue_access_token
from web.looks import look_at
from web.news import NewsReader


def refusal(sale, quantity=1, user_id=1, checks=None, key=None):
    with pytest.raises(DomainError) as caught:
        ask(sale.id, user_id, Kind.PURCHASE, quantity, checks=checks, idempotency_key=key).admission()
    return caught.value.code


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


class TestALook:
    """Users and addresses on shards of their own, apart from the sale's."""

    def test_it_asks_each_shard_of_its_own(self, make_sale, cluster):
        sale, limits = make_sale(), (Limit(3, 60),)
        for user_id in (7, 8):
            admit(sale.id, user_id, Kind.PURCHASE, 1)

        def seen(user_id, customer, ticket=2):
            who = Onlooker(user_id, "j", 0, customer, limits, limits)
            return at_once(look(HELD, who, (sale.id, ticket))).waiting

        assert [seen(8, "192.0.2.1").position for _ in range(3)] == [1] * 3
        for user_id, customer in ((8, "192.0.2.2"), (9, "192.0.2.1")):
            with pytest.raises(TooOftenError):
                seen(user_id, customer)
        tell_generation(10, 1)
        with pytest.raises(GivenBackError):
            seen(10, "192.0.2.3")
        places = {cluster.master_of(rediskeys.looks_of_user(each, 60)).port for each in range(1, 40)}
        assert len(places) == 3

    def test_an_outcome_is_shown_while_the_shard_of_its_sale_or_its_buyer_says_nothing(self, make_sale, cluster):
        sale = make_sale()
        ticket = admit(sale.id, 7, Kind.PURCHASE, 1).ticket
        settle_turn(sale.id)
        viewer = Identity(7, "customer", "j", 0, now() + timedelta(hours=1))
        for key in (rediskeys.view(sale.id), rediskeys.generation(7)):
            frozen = cluster.master_of(key)
            os.kill(frozen.pid, signal.SIGSTOP)
            try:
                record = at_once(look_at(HELD, viewer, (sale.id, ticket), 0, "192.0.2.1"))
                assert record.status == "confirmed"
            finally:
                os.kill(frozen.pid, signal.SIGCONT)
            cluster.wait_until_whole()


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

        # While web has not heard of the new master, it says 503.
        def is_confirmed(status, said):
            return status != 503 and said["data"]["status"] == "confirmed"

        with failed_over(cluster, sale.id):
            for user_id in users[1:]:
                eventually(lambda user_id=user_id: is_confirmed(*buy(user_id)), "it goes on")
        assert outcomes(sale.id) == set(users)
        assert audit_sale(sale.id).agrees

    def test_the_other_routes_are_limited_on_the_cluster(self, shop, store):
        tried = {"email": "nobody@shop.test", "password": "a wrong password"}
        statuses = [self.send(shop, "/api/auth/login", tried)[0] for _ in range(6)]
        assert statuses == [401] * 5 + [429]
        assert list(redis_client().scan_iter(match=f"*{rediskeys.LIMITS_PREFIX}*", count=1_000))
