"""Beat's scheduler: Celery's own, which stops sending ticks while many wait, and finds a broker that was away again.

Where no chores process takes them, ticks must not fill Redis. Their number is bounded rather than their age: an age is
told by two machines' clocks, and chores whose clock is a minute ahead would throw every tick away.
"""

from contextlib import suppress
from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler

from models import tasks

log = structlog.get_logger()

# About twenty seconds of ticks. All of them may run late, one after the other, and do no harm.
TICKS_WAITING_MAX = 30
# Between two tries to reach a broker. Celery's own wait grows to thirty seconds, twice what beat may be silent for.
RECONNECT_SECONDS = 1


class BoundedScheduler(Scheduler):  # type: ignore[misc, unused-ignore]
    """Sends a chore unless `TICKS_WAITING_MAX` wait already: then somebody is away, and will find these."""

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Celery's signature
        try:
            waiting = self._waiting(producer or self.producer)
            if waiting >= TICKS_WAITING_MAX:
                log.warning("tick.withheld", chore=entry.name, waiting=waiting)
                return None
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        except Exception:
            self._hang_up()
            raise

    def _waiting(self, producer: Any) -> int:
        """How many ticks wait. Declares the queue, as it is declared everywhere: asking RabbitMQ for one that is not
        there ends the channel."""
        queue = self.app.amqp.queues[tasks.CHORES_QUEUE]
        declared = producer.channel.queue_declare(
            queue=queue.name, durable=queue.durable, auto_delete=queue.auto_delete, arguments=queue.queue_arguments
        )
        return int(declared.message_count)

    def _hang_up(self) -> None:
        """Have the next chore go out over a new connection. Celery keeps the first for good, and with it a channel of
        RabbitMQ's that nothing mends once it is broken."""
        self.__dict__.pop("producer", None)
        connection = self.__dict__.pop("connection", None)
        if connection is not None:
            with suppress(Exception):
                # Without a goodbye, for whose answer a broker that is away would be waited for.
                connection.collect()

    def _ensure_connected(self) -> Any:
        def tell(error: Exception, _seconds: float) -> None:
            log.warning("beat.broker_away", error=type(error).__name__)

        return self.connection.ensure_connection(
            tell,
            self.app.conf.broker_connection_max_retries,
            interval_start=RECONNECT_SECONDS,
            interval_step=0,
            interval_max=RECONNECT_SECONDS,
        )
