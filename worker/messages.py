"""What arrives over the broker and is no message: thrown away with a line in the log, and the worker goes on.

kombu and Celery trust the broker: a line that is no JSON, or a header of the wrong type, raises in the worker's own
loop and ends it; not acknowledged, it comes back and ends the next one. Another program on the same Redis, or half a
message after a crash, must not do that. Nothing is lost: what counts lies in the mailbox.
"""

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery
from celery.worker.consumer import Consumer
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from models import metrics
from models.broker import KeptChannel, keep_clients

log = structlog.get_logger()

# So much of a broken message is shown in the log.
SHOWN_MAX = 200


class TolerantMessage(virtual.Message):
    """A message that is acknowledged once: what is thrown away may have an acknowledgement of Celery's on its way, and
    kombu raises at the second, in the worker's own loop."""

    def ack_log_error(self, *args: Any, **options: Any) -> None:
        if not self.acknowledged:
            super().ack_log_error(*args, **options)

    def reject_log_error(self, *args: Any, **options: Any) -> None:
        if not self.acknowledged:
            super().reject_log_error(*args, **options)


class TolerantChannel(KeptChannel):
    """A channel that takes what is no message for silence."""

    Message = TolerantMessage

    def _create_client(self, *args: Any, **options: Any) -> Any:
        client = super()._create_client(*args, **options)
        # redis-py hands every answer to a BRPOP through this; kombu takes "nothing came" from it as it is.
        client.set_response_callback("BRPOP", self._take)
        return client

    def _take(self, popped: list[bytes] | None, **_: Any) -> tuple[bytes, bytes] | None:
        if popped is None:
            return None
        queue, line = popped
        try:
            self._check(loads(bytes_to_str(line)))
        except Exception as why:  # noqa: BLE001 - anything can be written to a list, and anything can then be raised
            throw_away(line[:SHOWN_MAX], why)
            return None
        return queue, line

    def _receive(self) -> bool:
        """Remote control, which travels by publish and subscribe."""
        try:
            return bool(super()._receive())  # type: ignore[misc]
        except RecursionError as why:
            # kombu sees to the rest of what is no JSON here, but not to a hundred thousand brackets.
            throw_away("nested", why)
            return False

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        try:
            self._check(message)
        except Exception as why:  # noqa: BLE001 - as above
            throw_away(message, why)
            return False
        return bool(super()._deliver_fanout_message(message, exchange))  # type: ignore[misc]

    def _check(self, raw: Any) -> None:
        """Raise whatever kombu would raise later, where nobody could catch it any more."""
        message = self.Message(raw, channel=self)
        for text in (message.delivery_tag, message.delivery_info["exchange"], message.delivery_info["routing_key"]):
            if not isinstance(text, str):
                raise TypeError(f"{type(text).__name__} where kombu writes text")


class TolerantTransport(redis.Transport):
    """Redis as the broker of our workers."""

    Channel = TolerantChannel


def be_tolerant(app: Celery) -> None:
    """Have this process's workers read through the above; other brokers than Redis check their messages themselves."""
    keep_clients(TolerantTransport)
    app.conf.worker_consumer = "worker.messages:TolerantConsumer"


class TolerantConsumer(Consumer):
    """Celery's consumer, for messages that are whole and make no sense: whatever handling them raises ends here."""

    # Celery's types leave this out.
    connection_errors: tuple[type[Exception], ...]

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **options)

        def on_message(message: Any) -> None:
            try:
                handle(message)
            except self.connection_errors:
                raise
            except Exception as why:  # noqa: BLE001 - as above
                # Acknowledged: whatever could not be handled now cannot be handled later.
                throw_away(message.headers, why)
                message.ack_log_error(log, self.connection_errors)

        return on_message


def throw_away(message: object, why: Exception) -> None:
    """Say what is thrown away: its beginning, since it can be of any size."""
    metrics.THROWN_AWAY.inc()
    reason = f"{type(why).__name__}: {why}"
    log.error("broker.message_thrown_away", shown=repr(message)[:SHOWN_MAX], error=reason[:SHOWN_MAX])
