"""Celery's configuration: what travels is a wake-up ("sale 7 has mail") or a chore, never a purchase.

A message may be lost, doubled or late without harm: the sweeper sends another, and every task may run twice.
"""

from models import tasks
from models.settings import settings

_known = settings()

broker_url = _known.celery_broker_url
# The row in PostgreSQL is the result; Flower reads what settle returned from the worker's events.
result_backend = None
task_ignore_result = True
task_store_errors_even_if_ignored = False

# Acknowledged as they are taken: a wake-up that dies with its worker is sent again by the sweeper, and one that came
# back an hour later would wake nobody (docs/decisions/0002-wake-ups.md).
task_acks_late = False
worker_prefetch_multiplier = 1

task_default_queue = tasks.CHORES_QUEUE
task_create_missing_queues = True
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
# kombu waits interval_start + n * interval_step up to interval_max between attempts.
broker_transport_options = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 2.0,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "visibility_timeout": 60,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
    "retry_policy": {"max_retries": 1, "interval_start": 0.05, "interval_step": 0.1, "interval_max": 0.2},
}
task_publish_retry = False

worker_cancel_long_running_tasks_on_connection_loss = True
worker_hijack_root_logger = False
worker_soft_shutdown_timeout = 10.0
worker_send_task_events = True
task_send_sent_event = True
worker_enable_remote_control = True
# JSON only: a broker that somebody else can write to must not be able to run code here.
task_serializer = "json"
accept_content = ["json"]
event_queue_expires = 60.0
