"""The watchdog: a worker that lives but no longer consumes ends itself, and its supervisor starts it anew.

After a broken connection a Celery worker can stay for ever in a loop that reads nothing (celery#8030, #8091, #8384). It
answers pings and looks well. So each worker sends itself a probe over the broker, on a queue of its own that is read
over the same channel as its work, and says "alive" only when one came back (docs/decisions/0016-watchdog.md).
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import structlog
from celery import bootsteps
from celery.signals import worker_shutting_down
from celery.worker.state import active_requests
from kombu import Connection, Consumer, Queue
from redis.exceptions import RedisError

from models import heartbeats
from worker.app import app

log = structlog.get_logger()

TICK_SECONDS = 1.0
# So many ticks in a row without a probe that came back are proof. A process that was stopped for a while, or starved of
# its processor, does not tick either, and so is not taken for a stuck one when it wakes.
UNANSWERED_MAX = 6
# A worker with one task in hand reads no probes. For so many ticks that is work; from then on it is not called alive.
BUSY_MAX = 300
BEAT_EVERY = 2
# Of the probes' queue: it goes when nobody has used it for so long.
QUEUE_SECONDS = 60
STUCK_STATUS = 75  # EX_TEMPFAIL of sysexits.h: try again


class Watchdog:
    """Counts the ticks; `probe` sends, `heard` is told of what came back, `stuck` is what happens in the end.

    A broker that does not take the probe is away, and that is no reason to die: the count begins anew.
    """

    def __init__(
        self,
        probe: Callable[[], bool],
        is_busy: Callable[[], bool],
        beat: Callable[[], None],
        stuck: Callable[[], None],
    ) -> None:
        self._probe = probe
        self._is_busy = is_busy
        self._beat = beat
        self._stuck = stuck
        self._came_back = threading.Event()
        self._unanswered = 0
        self._busy = 0
        self._ticks_to_beat = 0

    def heard(self) -> None:
        """A probe came back. Called from the worker's loop."""
        self._came_back.set()

    def watch_for_ever(self) -> None:
        """Tick once a second; the first answer is told at once, since nobody should wait for a worker that is ready."""
        self._probe()
        self._came_back.wait(TICK_SECONDS)
        while True:
            self.tick()
            time.sleep(TICK_SECONDS)

    def tick(self) -> None:
        """One second of a worker's life."""
        came_back = self._came_back.is_set()
        self._came_back.clear()
        if self._is_busy():
            self._unanswered = 0
            self._busy += 1
            self._say_alive(self._busy <= BUSY_MAX)
            return
        self._busy = 0
        if came_back:
            self._unanswered = 0
        self._say_alive(came_back)
        if self._unanswered >= UNANSWERED_MAX:
            self._stuck()
        self._unanswered = self._unanswered + 1 if self._probe() else 0

    def _say_alive(self, is_alive: bool) -> None:  # noqa: FBT001 - a yes or a no
        self._ticks_to_beat -= 1
        if is_alive and self._ticks_to_beat <= 0:
            self._ticks_to_beat = BEAT_EVERY
            self._beat()


class Watched(bootsteps.StartStopStep):
    """Reads the probes over the channel of the tasks, and runs the watchdog from the first start to the stop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._name = str(consumer.hostname)
        self._queue = Queue(f"probe.{self._name}.{uuid4().hex[:8]}", expires=QUEUE_SECONDS)
        self._expected: frozenset[str] = frozenset()
        self._probes: Consumer | None = None
        self._connection: Connection | None = None
        self._stopping = threading.Event()
        self._watchdog = Watchdog(self._send, lambda: bool(active_requests), self._beat, self._end)

    def start(self, parent: Any) -> None:
        # Called again after every reconnect to the broker, with a channel that knows nothing of the former one.
        tasks = parent.task_consumer
        self._probes = Consumer(
            tasks.channel, [self._queue], no_ack=True, accept=["json"], on_message=lambda _: self._hear(tasks)
        )
        self._probes.consume()
        if self._expected:
            return
        self._expected = frozenset(queue.name for queue in tasks.queues)
        with suppress(RedisError):
            # Names change only where somebody starts.
            heartbeats.forget_silent_workers()
        worker_shutting_down.connect(self._let_go, weak=False)
        threading.Thread(target=self._watchdog.watch_for_ever, name="watchdog", daemon=True).start()

    def _hear(self, tasks: Any) -> None:
        """A probe proves something only while the work is read beside it, from every queue that was asked for."""
        if all(tasks.consuming_from(name) for name in self._expected):
            self._watchdog.heard()

    def _send(self) -> bool:
        """Whether the broker took a probe. A connection of our own: the worker's is what is being tested."""
        if self._stopping.is_set():
            return False
        try:
            if self._connection is None:
                self._connection = app.connection_for_write()
            with self._connection.channel() as channel:
                self._queue(channel).declare()
                with self._connection.Producer(channel) as producer:
                    producer.publish({}, routing_key=self._queue.name, serializer="json", retry=False)
        except Exception as why:  # noqa: BLE001 - each broker has its own errors, and none of them may end the watchdog
            log.warning("watchdog.broker_away", worker=self._name, error=type(why).__name__)
            self._hang_up()
            return False
        return True

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=1)

    def _beat(self) -> None:
        try:
            heartbeats.beat(self._name, sorted(self._expected))
        except RedisError:
            # Away, full, or a replica: whatever it is, it must not end the watchdog.
            log.warning("heartbeat.untold", worker=self._name)

    def _let_go(self, **_: Any) -> None:
        """A worker that was asked to stop consumes no more, and that is right."""
        self._stopping.set()

    def _end(self) -> None:
        """Nothing is in hand, and a loop that hangs cannot be asked to stop."""
        if not self._stopping.is_set():
            log.critical("worker.stuck", worker=self._name, queues=sorted(self._expected), ticks=UNANSWERED_MAX)
            os._exit(STUCK_STATUS)


app.steps["consumer"].add(Watched)
