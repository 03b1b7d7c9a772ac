"""Beat goes on without chores and never fills Redis with what nobody takes."""

import sys
import time

import pytest
from celery import Celery

from models import rediskeys, tasks
from models.redisclient import redis_client
from models.settings import settings
from tests.pipeline.conftest import CELERY, COMMANDS, eventually
from worker.beat import TICKS_WAITING_MAX


def waiting() -> int:
    return int(redis_client().llen(tasks.CHORES_QUEUE))


@pytest.fixture
def _ticks_wait(store) -> None:
    """As many ticks as may wait, sent while no chores process was there."""
    with Celery(broker=settings().celery_broker_url) as sender:
        sender.config_from_object("celeryconfig")
        sender.conf.update(broker_url=settings().celery_broker_url)
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
