"""Celery's configuration: what travels is a wake-up ("sale 7 has mail") or a chore, never a purchase.

A message may be lost, doubled or late without harm: the sweeper sends another, and every task may run twice. Two
brokers are known: Redis, and RabbitMQ with quorum queues (docs/decisions/0024-brokers.md).
"""

from typing import Any

from models import tasks
from models.settings import settings

_known = settings()

broker_url = _known.celery_broker_url
_is_rabbitmq = _known.broker_is_rabbitmq
# The row in PostgreSQL is the result; Flower reads what settle returned from the worker's events.
result_backend = None
task_ignore_result = True
task_store_errors_even_if_ignored = False

# Acknowledged as they are taken: a wake-up that dies with its worker is sent again by the sweeper, and one that came
# back an hour later would wake nobody (docs/decisions/0002-wake-ups.md). RabbitMQ gives it back at once, and would push
# the next one to a worker that still has a hot sale in hand, past others that are free.
task_acks_late = _is_rabbitmq
worker_prefetch_multiplier = 1

task_default_queue = tasks.CHORES_QUEUE
task_create_missing_queues = True
task_default_queue_type = task_create_missing_queue_type = "quorum" if _is_rabbitmq else "classic"
# Celery declares its 28 queues of delays beside quorum queues, with every start. Nothing here is delayed, so these need
# no copies on other nodes.
broker_native_delayed_delivery_queue_type = "classic"
task_routes = {tasks.SETTLE: {"queue": tasks.SETTLEMENTS_QUEUE}}

enable_utc = True
timezone = "UTC"
beat_max_loop_interval = 1
beat_schedule = {
    name.removeprefix("doorbuster."): {
        "task": name,
        "schedule": every,
        # No expiry: it would be told by beat's clock and judged by another's. worker/beat.py bounds what waits.
        "options": {"queue": tasks.CHORES_QUEUE},
    }
    for name, every in tasks.EVERY.items()
}

broker_connection_timeout = 2.0
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A Redis that is full, or that can only be read, refuses what a worker asks of it: it tries again rather than exit.
broker_channel_error_retry = True
# RabbitMQ ends a connection that is silent for twice as long, and a worker in the middle of a turn is silent.
broker_heartbeat = 20.0


def _transport_options() -> dict[str, Any]:
    """What each broker's driver is told: every wait bounded, and on RabbitMQ every message confirmed."""
    if _is_rabbitmq:
        return {
            "confirm_publish": True,
            # Of a socket. Also the longest wait for a confirmation, which a broker that is short of memory keeps back.
            "read_timeout": 5.0,
            "write_timeout": 5.0,
        }
    return {
        "socket_timeout": 5.0,
        "socket_connect_timeout": 2.0,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # What is taken is not written down: two trips and two writes to the disk a message, for one that the sweeper
        # sends again anyway.
        "ack_emulation": False,
        # kombu waits interval_start + n * interval_step up to interval_max between attempts.
        "retry_policy": {"max_retries": 1, "interval_start": 0.05, "interval_step": 0.1, "interval_max": 0.2},
    }


broker_transport_options = _transport_options()
task_publish_retry = False

worker_cancel_long_running_tasks_on_connection_loss = True
worker_hijack_root_logger = False
worker_soft_shutdown_timeout = 10.0
worker_send_task_events = True
worker_enable_remote_control = True
# JSON only: a broker that somebody else can write to must not be able to run code here.
task_serializer = "json"
accept_content = ["json"]
event_queue_expires = 60.0
# RabbitMQ 4.3 takes queues that are neither durable nor of one connection alone no more.
control_queue_exclusive = event_queue_exclusive = _is_rabbitmq
