"""A master of a real Redis Cluster is killed, asked to step back or left alone, in the middle of a rush."""

from contextlib import contextmanager

import pytest
from flask import Flask
from redis.exceptions import ReadOnlyError

from models import rediskeys
from models.audit import audit_sale
from models.gate import Checks, Limit, admit, ask
from models.gateline import NotReplicatedError
from models.purchase import Kind
from models.purchases import find_purchase
from models.redisclient import redis_client
from models.settle import settle_turn
from models.velocity import Attempt, questions_about
from tests.cluster.switching import settings_of
from tests.redis_cluster.rush import Buyers, bring_back, buyers, eventually, failed_over, outcomes, settle_all
from web.errors import refuse

LATE = (1, 2, 3)


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
