"""Beat's scheduler: Celery's own, which stops sending ticks while many wait.

Where no chores process takes them, ticks must not fill Redis. Their number is bounded rather than their age: an age is
told by two machines' clocks, and chores whose clock is a minute ahead would throw every tick away.
"""

from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler

from models import tasks

log = structlog.get_logger()

# About twenty seconds of ticks. All of them may run late, one after the other, and do no harm.
TICKS_WAITING_MAX = 30


class BoundedScheduler(Scheduler):  # type: ignore[misc, unused-ignore]
    """Sends a chore unless `TICKS_WAITING_MAX` wait already: then somebody is away, and will find these."""

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Celery's signature
        waiting = self._waiting(producer or self.producer)
        if waiting >= TICKS_WAITING_MAX:
            log.warning("tick.withheld", chore=entry.name, waiting=waiting)
            return None
        return super().apply_async(entry, producer=producer, advance=advance, **kwargs)

    def _waiting(self, producer: Any) -> int:
        """How many ticks wait. Declares the queue, as it is declared everywhere: asking RabbitMQ for one that is not
        there ends the channel."""
        queue = self.app.amqp.queues[tasks.CHORES_QUEUE]
        declared = producer.channel.queue_declare(
            queue=queue.name, durable=queue.durable, auto_delete=queue.auto_delete, arguments=queue.queue_arguments
        )
        return int(declared.message_count)
