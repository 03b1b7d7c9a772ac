"""Wake-ups over a broker of their own, another Redis or RabbitMQ, which is killed in the middle of a rush."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from amqp.exceptions import AMQPError, PreconditionFailed
from kombu import Connection
from kombu.exceptions import ChannelError

from models import rediskeys, tasks
from models.audit import audit_sale
from models.database import transaction
from models.doctor.work import look_at_broker
from models.purchase import Purchase
from models.redisclient import redis_client
from models.settings import settings
from models.tokens import issue_access_token
from ops.throwaway import embedded_valkey
from ops.throwaway_shop import throwaway_shop
from tests.cluster.rabbitmq import RabbitMQ, rabbitmq, rabbitmq_or_skip
from tests.stopping.rush import Buyers, until

pytestmark = pytest.mark.long

BUYERS = 8
# More than can be bought while this runs: nobody is refused, and the line does not run dry.
UNITS = 1_000_000


@contextmanager
def another_redis() -> Iterator[Any]:
    with embedded_valkey() as broker:
        yield broker


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request, store, monkeypatch) -> Iterator[Any]:
    """A running broker that the settings name: `kill()` and `start()` it."""
    if request.param == "rabbitmq":
        rabbitmq_or_skip()
    with {"redis": another_redis, "rabbitmq": rabbitmq}[request.param]() as running:
        monkeypatch.setenv("BROKER_URL", running.url)
        settings.cache_clear()
        yield running
    monkeypatch.undo()
    settings.cache_clear()


@pytest.mark.timeout(900)
def test_a_broker_killed_in_the_middle_of_a_rush_stops_no_buyer_and_loses_nobody(
    broker, make_sale, make_user, tmp_path, monkeypatch
):
    for limit in ("RATE_LIMIT_PURCHASE", "RATE_LIMIT_ADDRESS", "RATE_LIMIT_DEFAULT"):
        monkeypatch.setenv(limit, "1000000/minute")
    monkeypatch.setenv("VELOCITY_ACCOUNTS_FLAG", "0")
    sale = make_sale(total_stock=UNITS)
    users = [make_user() for _ in range(BUYERS)]
    tokens = [issue_access_token(user.id, user.role) for user in users]
    with throwaway_shop(tmp_path) as shop:
        assert list(look_at_broker()) == []
        if settings().broker_is_rabbitmq:
            _assert_quorum_queues(broker)
        buyers = Buyers(shop.port, sale.id, tokens)
        buyers.wait_for(100)
        until(lambda: len(_settled(sale.id)) >= 100)

        broker.kill()
        # Far more than were on their way: they are accepted while nobody can be woken.
        buyers.wait_for(200)
        assert _status(f"{shop.url}/readyz") == 503
        assert [finding.code for finding in look_at_broker()] == ["BROKER_AWAY"]
        broker.start()
        buyers.wait_for(100)
        shop.wait_until_ready()
        buyers.stop()
        until(lambda: not redis_client().xlen(rediskeys.mailbox(sale.id)))

    assert buyers.wrong == []
    assert buyers.broken == []
    # Nobody was sent away, not even while the broker was.
    assert set(buyers.statuses) == {202}
    settled = _settled(sale.id)
    assert [row.ticket for row in settled] == sorted(buyers.accepted)
    assert {(row.status, row.quantity) for row in settled} == {("confirmed", 1)}
    at = [row.settled_at for row in settled]
    assert at == sorted(at)
    assert audit_sale(sale.id).agrees


@pytest.mark.timeout(600)
def test_beat_sends_again_when_its_broker_is_back(broker, processes):
    processes.start("beat")
    # RabbitMQ may lose a queue for good that was declared only a moment before it is killed.
    until(lambda: _ticks_waiting() > 6)
    before = _ticks_waiting()

    broker.kill()
    # Long enough for a tick that could not be sent.
    time.sleep(3)
    broker.start()

    # More than beat may have sent between the count and the kill.
    until(lambda: _ticks_waiting() > before + 6, lambda: processes.log("beat")[-3000:])


def _ticks_waiting() -> int:
    """None of them where their queue is not there, or not yet again."""
    with Connection(settings().celery_broker_url) as connection, suppress(AMQPError, ChannelError):
        return int(connection.default_channel.queue_declare(tasks.CHORES_QUEUE, passive=True).message_count)
    return 0


def _assert_quorum_queues(broker: RabbitMQ) -> None:
    """What is copied to other nodes of a RabbitMQ, and survives one of them. It takes neither kind for the other."""
    with broker.connection() as connection:
        for queue in (tasks.SETTLEMENTS_QUEUE, tasks.CHORES_QUEUE):
            _declare(connection, queue, "quorum")
            with pytest.raises(PreconditionFailed):
                _declare(connection, queue, "classic")


def _declare(connection: Any, queue: str, kind: str) -> None:
    connection.channel().queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": kind})


def _settled(sale_id: int) -> list[Any]:
    with transaction() as session:
        columns = (Purchase.ticket, Purchase.status, Purchase.quantity, Purchase.settled_at)
        return list(session.query(*columns).filter_by(sale_id=sale_id).order_by(Purchase.ticket))


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own address
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
