"""What every Celery process does beside its tasks: logs with the task's id, and a heartbeat from its own loop."""

import logging
from contextlib import suppress
from typing import Any

import structlog
from celery import bootsteps
from celery.signals import setup_logging, task_postrun, task_prerun, worker_ready
from sqlalchemy.exc import SQLAlchemyError

from models import heartbeats
from models.logs import configure_logging
from models.redisclient import REDIS_AWAY
from models.sale_rules import SaleNotFoundError
from models.settle import settle_turn
from worker.app import app

HEARTBEAT_EVERY_SECONDS = 2.0
# Celery's own lines on every message, at INFO: four chores a second would drown what matters.
CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.beat")
# No sale has this id.
NO_SALE = 0


@setup_logging.connect
def _configure(**_: Any) -> None:
    """Take logging over from Celery, so that web and worker log alike."""
    configure_logging()
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


@worker_ready.connect
def _warm_up(**_: Any) -> None:
    """Connect and compile before the first buyer comes, not while they wait."""
    with suppress(SaleNotFoundError, SQLAlchemyError, *REDIS_AWAY):
        settle_turn(NO_SALE)


@task_prerun.connect
def _bind(task_id: str, task: Any, **_: Any) -> None:
    structlog.contextvars.bind_contextvars(task_id=task_id, task=task.name)


@task_postrun.connect
def _unbind(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()


class Heartbeat(bootsteps.StartStopStep):
    """Says "alive" from the consumer's own loop: a loop that hangs falls silent, and /readyz sees it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer_entry: Any = None

    def start(self, parent: Any) -> None:
        # Called again after every reconnect to the broker.
        self.stop(parent)
        with suppress(*REDIS_AWAY):
            # Names change only where somebody starts.
            heartbeats.forget_silent_workers()
        self._beat(parent)
        self._timer_entry = parent.timer.call_repeatedly(HEARTBEAT_EVERY_SECONDS, self._beat, (parent,))

    def stop(self, parent: Any) -> None:
        if self._timer_entry is not None:
            self._timer_entry.cancel()
            self._timer_entry = None

    def _beat(self, parent: Any) -> None:
        try:
            heartbeats.beat(parent.hostname, sorted(queue.name for queue in parent.task_consumer.queues))
        except REDIS_AWAY:
            structlog.get_logger().warning("heartbeat.untold", worker=parent.hostname)


app.steps["consumer"].add(Heartbeat)
