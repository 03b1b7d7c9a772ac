"""Wake-ups: asks for a sale to be settled, by task name, beside the request that admitted.

Publishing happens on a thread of its own, so that a broker that hangs keeps no buyer waiting. A wake-up that is lost
costs a second or two: the sweeper sends another.
"""

import queue
import threading

import structlog
from amqp.exceptions import AMQPError
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from models import mailbox, tasks
from models.broker import keep_clients
from models.once import once
from models.settings import settings

log = structlog.get_logger()

WAITING_MAX = 1_000
RETRY = {"max_retries": 2, "interval_start": 0.05, "interval_step": 0.1, "interval_max": 0.2}


class Waker:
    """A queue of wake-ups and the thread that publishes them."""

    def __init__(self) -> None:
        keep_clients()
        self._celery = Celery("doorbuster-web", set_as_current=False)
        self._celery.config_from_object("celeryconfig")
        # The settings of now: celeryconfig was read when somebody first imported it.
        self._celery.conf.update(broker_url=settings().celery_broker_url)
        self._waiting: queue.Queue[tuple[int, bool]] = queue.Queue(WAITING_MAX)
        threading.Thread(target=self._publish_for_ever, name="waker", daemon=True).start()

    def wake(self, sale_id: int, *, dedicated: bool = False) -> None:
        """Ask for a sale to be settled; never blocks and never raises."""
        try:
            self._waiting.put_nowait((sale_id, dedicated))
        except queue.Full:
            log.warning("wake.dropped", sale=sale_id)

    def _publish_for_ever(self) -> None:
        self._connect()
        while True:
            sale_id, dedicated = self._waiting.get()
            try:
                self._celery.send_task(
                    tasks.SETTLE,
                    args=(sale_id,),
                    queue=tasks.settle_queue(sale_id, dedicated=dedicated),
                    ignore_result=True,
                    retry=True,
                    retry_policy=RETRY,
                )
            except (OperationalError, OSError, RedisError, AMQPError) as error:
                log.warning("wake.failed", sale=sale_id, error=type(error).__name__)
                self._let_the_next_request_try(sale_id)
            except Exception:
                # Without this thread nobody would be woken but by the sweeper, for as long as the process lives.
                log.exception("wake.failed", sale=sale_id)

    def _connect(self) -> None:
        """Beforehand: to load and connect all of this took the first wake-up of a process half a second in a rush."""
        try:
            with self._celery.producer_or_acquire() as producer:
                log.debug("wake.connected", channel=str(producer.channel))
        except (OperationalError, OSError, RedisError, AMQPError) as error:
            log.warning("wake.unconnected", error=type(error).__name__)

    @staticmethod
    def _let_the_next_request_try(sale_id: int) -> None:
        try:
            mailbox.clear_awake(sale_id)
        except RedisError:
            log.warning("wake.flag_left", sale=sale_id)


@once
def waker() -> Waker:
    """The waker of this process, started with its first use (after a server has forked)."""
    return Waker()
