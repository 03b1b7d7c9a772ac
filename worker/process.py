"""What every Celery process does beside its tasks: logs with the task's id, and connections before the first buyer."""

import gc
import logging
import sys
from contextlib import suppress
from typing import Any

from celery.signals import setup_logging, task_postrun, task_prerun, worker_init, worker_ready
from prometheus_client import start_http_server
from sqlalchemy.exc import SQLAlchemyError

from models import metrics
from models.batch import commit_batch
from models.logs import configure_logging, name_lines
from models.redisclient import REDIS_AWAY
from models.sale_rules import SaleNotFoundError
from models.settings import settings
from models.taking_over import BusyError
from worker.app import app
from worker.messages import be_tolerant

# Celery's own lines on every message, at INFO: four chores a second would drown what matters.
CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.beat")
# No sale has this id.
NO_SALE = 0
# How long the thread that tells and reads ahead keeps the interpreter while PostgreSQL's answer is there. By default
# five milliseconds, a tenth of what a batch takes.
SWITCH_SECONDS = 0.001

be_tolerant(app)


@setup_logging.connect
def _configure(**_: Any) -> None:
    """Take logging over from Celery, so that web and worker log alike."""
    configure_logging()
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


@worker_init.connect
def _tell_metrics(**_: Any) -> None:
    """A worker serves no HTTP; where no process beside it tells for it (METRICS_DIR), it has a port of its own."""
    if settings().metrics_port:
        start_http_server(settings().metrics_port, addr=settings().host, registry=metrics.registry())


@worker_ready.connect
def _warm_up(**_: Any) -> None:
    """Connect and compile before the first buyer comes, not while they wait."""
    sys.setswitchinterval(SWITCH_SECONDS)
    # Processes that begin together do this together: whoever finds another at it has connected and compiled by then.
    with suppress(SaleNotFoundError, BusyError, SQLAlchemyError, *REDIS_AWAY):
        commit_batch(NO_SALE, 1, None, lambda *_: None)
    # What is loaded stays: a batch makes thousands of objects, and each search for garbage went through all the rest.
    gc.collect()
    gc.freeze()


@task_prerun.connect
def _bind(task_id: str, task: Any, **_: Any) -> None:
    name_lines(task_id=task_id, task=task.name)


@task_postrun.connect
def _unbind(**_: Any) -> None:
    name_lines()
