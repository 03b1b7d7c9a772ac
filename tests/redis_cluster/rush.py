"""A rush on a Redis Cluster: buyers who ask again, masters that go, and what became of everybody."""

import threading
import time
from contextlib import contextmanager, suppress
from itertools import count

from sqlalchemy import select

from models import rediskeys
from models.database import transaction
from models.gate import admit
from models.gateline import NotReplicatedError
from models.purchase import Kind, Purchase
from models.redisclient import REDIS_AWAY, redis_client
from models.settle import settle_turn

PATIENCE_SECONDS = 60
buyers = count(1_000)


def eventually(is_so, what):
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.05)


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
