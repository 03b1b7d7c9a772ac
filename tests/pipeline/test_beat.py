"""Beat goes on without chores and never fills Redis with what nobody takes."""

import sys
import time
from collections.abc import Iterator

import pytest
from celery import Celery
from celery.beat import Scheduler

from models import rediskeys, tasks
from models.redisclient import redis_client
from models.settings import settings
from tests.pipeline.conftest import CELERY, COMMANDS, eventually
from worker.beat import TICKS_WAITING_MAX, BoundedScheduler


def waiting() -> int:
    return int(redis_client().llen(tasks.CHORES_QUEUE))


@pytest.fixture
def sender(store) -> Iterator[Celery]:
    """Celery as it is configured, in this process."""
    with Celery(broker=settings().celery_broker_url) as app:
        app.config_from_object("celeryconfig")
        app.conf.update(broker_url=settings().celery_broker_url)
        yield app


@pytest.fixture
def _ticks_wait(sender) -> None:
    """As many ticks as may wait, sent while no chores process was there."""
    for _ in range(TICKS_WAITING_MAX):
        sender.send_task(tasks.CLOSE_DUE_SALES, queue=tasks.CHORES_QUEUE, ignore_result=True)
    assert waiting() == TICKS_WAITING_MAX


@pytest.mark.usefixtures("_ticks_wait")
def test_beat_sends_nothing_while_many_ticks_wait_and_goes_on_when_they_are_taken(processes):
    processes.start("beat")
    eventually(lambda: "tick.withheld" in processes.log("beat"), "beat withheld a tick")

    assert waiting() == TICKS_WAITING_MAX

    processes.start("chores")
    eventually(lambda: redis_client().exists(rediskeys.BEAT_HEARTBEAT) == 1, "a tick of beat's was taken")
    eventually(lambda: waiting() < TICKS_WAITING_MAX, "what waited was taken")


@pytest.mark.usefixtures("_ticks_wait")
def test_without_the_bound_ticks_pile_up(processes, monkeypatch):
    """The control: Celery's own scheduler."""
    own = (sys.executable, *CELERY[1:], "beat", "--scheduler", "celery.beat:Scheduler", "--pidfile=")
    monkeypatch.setitem(COMMANDS, "beat", own)

    processes.start("beat")

    eventually(lambda: waiting() > TICKS_WAITING_MAX, "one more tick waits")


def test_beat_is_not_stopped_by_a_broker_that_is_away_for_a_moment(processes, servers):
    processes.start("beat")
    eventually(lambda: waiting() > 0, "the first tick waits")
    servers.valkey.kill()
    time.sleep(1)
    servers.valkey.start()
    redis_client().delete(tasks.CHORES_QUEUE)

    eventually(lambda: waiting() > 0, "beat sends again")


class BrokenChannel:
    """What is left of a channel of RabbitMQ's when its connection is lost: whatever is asked of it fails."""

    def __getattr__(self, _name):
        raise BrokenPipeError


def _tick_over_a_broken_channel(sender, kind) -> Scheduler:
    """A scheduler of this kind with one chore, due every moment, that was sent once and could not be sent again."""
    scheduler = kind(app=sender, lazy=True)
    scheduler.add(name="tick", task=tasks.TICK, schedule=0, options={"queue": tasks.CHORES_QUEUE})
    scheduler.tick()
    assert waiting() == 1
    scheduler.producer.channel = BrokenChannel()
    scheduler.tick()
    assert waiting() == 1
    return scheduler


def test_a_connection_that_broke_costs_one_tick_and_no_more(sender):
    scheduler = _tick_over_a_broken_channel(sender, BoundedScheduler)

    scheduler.tick()

    assert waiting() == 2


def test_celery_itself_would_never_send_again(sender):
    """The control: its scheduler keeps the first channel."""
    scheduler = _tick_over_a_broken_channel(sender, Scheduler)

    for _ in range(3):
        scheduler.tick()

    assert waiting() == 1
