"""The gate's own way to Redis: every wait has an end, and nothing is sent twice."""

import socket
import time

import pytest

from models import gateline, rediskeys
from models.gate import admit
from models.gateline import TRUSTED_SECONDS, NotReplicatedError, NotSentError, gate_lines
from models.purchase import Kind
from models.redisclient import CONNECTIONS_MAX, REDIS_AWAY, redis_client
from models.settings import settings
from tests.hanging import hanging


@pytest.fixture(autouse=True)
def _new_connections():
    gate_lines().close()
    yield
    gate_lines().close()


def test_a_redis_that_hangs_is_waited_for_only_so_long(make_sale, store):
    sale = make_sale()
    assert admit(sale.id, 1, Kind.PURCHASE, 1).ticket == 1
    for idle_seconds in (0, TRUSTED_SECONDS + 0.1):
        time.sleep(idle_seconds)
        with hanging(store.valkey.pid):
            began = time.monotonic()
            with pytest.raises(REDIS_AWAY):
                admit(sale.id, 2, Kind.PURCHASE, 1)
            assert time.monotonic() - began < settings().redis_timeout_seconds + 15
    assert admit(sale.id, 3, Kind.PURCHASE, 1).ticket >= 2


def test_the_kernel_bounds_the_waits_of_every_connection(make_sale):
    """Or the test above would only show that somebody bounds them."""
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    for _ in range(2):
        ((connection, _),) = gate_lines()._idle
        sock = connection._get_socket()
        assert sock.gettimeout() is None
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            assert any(sock.getsockopt(socket.SOL_SOCKET, option, 16))
        time.sleep(TRUSTED_SECONDS + 0.1)
        admit(sale.id, 2, Kind.PURCHASE, 1)


def test_a_connection_that_redis_closed_while_it_lay_idle_is_replaced(make_sale):
    """And a control: one that is used right away is trusted, and its buyer is told to try again."""
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    redis_client().client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(REDIS_AWAY):
        admit(sale.id, 2, Kind.PURCHASE, 1)

    admit(sale.id, 3, Kind.PURCHASE, 1)
    redis_client().client_kill_filter(_type="normal", skipme=True)
    time.sleep(TRUSTED_SECONDS + 0.1)

    assert admit(sale.id, 4, Kind.PURCHASE, 1).ticket == 3


def test_connections_that_nobody_took_use_up_no_room(store):
    """redis-py's pool counts what it makes, and would have refused to make any more."""
    store.valkey.kill()
    for _ in range(CONNECTIONS_MAX + 1):
        with pytest.raises(NotSentError):
            gate_lines().call(("PING",), key="")
    store.valkey.start()

    assert gate_lines().call(("PING",), key="") == "PONG"


def test_a_place_that_no_replica_has_is_not_promised_and_a_retry_keeps_it(make_sale, waiting, monkeypatch):
    """Also where there is no cluster, and no replica at all."""
    sale = make_sale()
    careful = settings().model_copy(update={"redis_wait_replicas": 1, "redis_wait_ms": 20})
    monkeypatch.setattr("models.gateparts.settings", lambda: careful)
    for _ in range(2):
        with pytest.raises(NotReplicatedError):
            admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="once")
    assert waiting(sale.id) == 1

    monkeypatch.undo()
    assert admit(sale.id, 1, Kind.PURCHASE, 1, idempotency_key="once").replayed
    assert 0 < redis_client().ttl(rediskeys.idempotency(sale.id, 1, "once")) <= settings().idempotency_hours * 3600


def test_only_so_many_connections_are_open_at_once(monkeypatch, store):
    monkeypatch.setattr(gateline, "CONNECTIONS_MAX", 2)
    lines = gateline.GateLines(gateline.gate_client())
    lines._patience_seconds = 0.05
    for _ in range(2):
        lines._turns.acquire()

    with pytest.raises(REDIS_AWAY):
        lines.call(("PING",))

    lines._turns.release()
    assert lines.call(("PING",)) == "PONG"
    lines.close()
