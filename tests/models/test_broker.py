"""Redis as the broker: a channel keeps the client by which it asks."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kombu import Connection
from kombu.transport import redis

from models.broker import KeptTransport
from models.redisclient import redis_client
from models.settings import settings

ROOT = Path(__file__).parents[2]
# Each in a process of its own: kombu looks up a name once.
TRANSPORTS = {
    "web": "from web.wake import Waker; print(Waker()._celery.connection().transport.Channel.__mro__)",
    "worker": "from worker.process import app; print(app.connection().transport.Channel.__mro__)",
}


def channel_of(transport):
    address = urlsplit(settings().celery_broker_url)
    where = {"hostname": address.hostname, "port": address.port, "password": address.password}
    return Connection(transport=transport, **where).default_channel


@pytest.fixture
def channel(store):
    made = channel_of(KeptTransport)
    yield made
    made.connection.client.release()


def ask(channel):
    with channel.conn_or_acquire() as client:
        assert client.ping()
        return client


def test_one_client_asks_everything(channel):
    assert ask(channel) is ask(channel)


def test_the_one_that_waits_for_messages_is_another(channel):
    assert channel.client is not ask(channel)


def test_control_kombu_makes_one_each_time(store):
    plain = channel_of(redis.Transport)

    assert ask(plain) is not ask(plain)


@pytest.mark.parametrize("name", TRANSPORTS)
def test_web_and_workers_work_so(store, name):
    command = [sys.executable, "-c", TRANSPORTS[name]]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)

    assert "models.broker.KeptChannel" in told.stdout


def test_a_pool_that_was_given_up_takes_its_client_with_it(channel):
    before = ask(channel)

    channel._disconnect_pools()

    after = ask(channel)
    assert after is not before
    assert after.connection_pool is channel.pool


def test_what_is_sent_arrives_after_redis_dropped_every_connection(channel):
    channel._put("somewhere", {"body": "one"})
    redis_client().client_kill_filter(_type="normal", skipme=True)
    channel._put("somewhere", {"body": "two"})

    assert redis_client().llen("somewhere") == 2
