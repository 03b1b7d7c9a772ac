"""The news of all sales: one Redis reader a process, however many wait or listen."""

import random
import threading
import time
from typing import Any, Protocol

import orjson
import structlog
from redis.exceptions import RedisError

from models import rediskeys
from models.once import once
from models.record import PurchaseRecord
from models.redisclient import listening_client
from models.rediscluster import ClusterClient
from models.snapshot import SaleSnapshot

log = structlog.get_logger()

# A reader that hears nothing for this long asks Redis whether it is still there.
SILENCE_SECONDS = 2.0
RECONNECT_SECONDS_MAX = 2.0


class Listener(Protocol):
    """Somebody to whom the news matter. Called on the reader's thread: must be quick and must not raise."""

    def wants(self, sale_id: int) -> bool:
        """Whether the news of this sale are worth reading."""

    def hear(self, sale: SaleSnapshot, outcomes: list[PurchaseRecord]) -> None:
        """News of a sale that it wanted."""

    def missed(self) -> None:
        """The reader was away for a while: what was said then is in PostgreSQL and the event streams."""


class NewsReader:
    """Listens on every sale's channel and passes on what somebody wants."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self._lock = threading.Lock()
        self._connected = threading.Event()
        self._started = False

    def add(self, listener: Listener) -> None:
        """Pass the news on to this listener from now on; starts the reader with the first."""
        with self._lock:
            self._listeners = (*self._listeners, listener)
            if not self._started:
                self._started = True
                threading.Thread(target=self._read_for_ever, name="news", daemon=True).start()

    def wait_until_connected(self, seconds: float) -> bool:
        """Whether the reader listens; waits at most so many seconds for it."""
        return self._connected.wait(seconds)

    def _read_for_ever(self) -> None:
        pause = 0.05
        while True:
            try:
                self._read()
            except RedisError as error:
                log.warning("news.lost", error=type(error).__name__)
            if self._connected.is_set():
                pause = 0.05
            self._connected.clear()
            # With jitter: every process lost Redis at the same moment, and none should come back with all the others.
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
            pause = min(pause * 2, RECONNECT_SECONDS_MAX)

    def _read(self) -> None:
        client = listening_client(SILENCE_SECONDS)
        with client, _channel_of(client) as channel:
            channel.psubscribe(rediskeys.NEWS_PATTERN)
            answered = True
            while True:
                message: dict[str, Any] | None = channel.get_message(timeout=SILENCE_SECONDS)
                if message is None:
                    # Silence: a peer that vanished without a word looks the same, so it is asked.
                    if not answered:
                        return
                    answered = False
                    channel.ping()
                    continue
                answered = True
                if message["type"] == "psubscribe":
                    self._connected.set()
                    for listener in self._listeners:
                        listener.missed()
                elif message["type"] == "pmessage":
                    self._pass_on(message["channel"], message["data"])

    def _pass_on(self, channel: str, data: str) -> None:
        try:
            sale_id = rediskeys.sale_of_news(channel)
            wanting = [listener for listener in self._listeners if listener.wants(sale_id)]
            if not wanting:
                return
            news = orjson.loads(data)
            sale = SaleSnapshot.from_wire(news["sale"])
            outcomes = [PurchaseRecord.from_wire(wire) for wire in news["outcomes"]]
            if "traces" in news:
                traces = dict(news["traces"])
                outcomes = [outcome._replace(trace=traces.get(str(outcome.ticket))) for outcome in outcomes]
        except (ValueError, TypeError, LookupError, ArithmeticError):
            # Anybody in Redis can say anything on a channel: the reader of all sales does not end with it.
            log.warning("news.unreadable", channel=channel[:100])
            return
        for listener in wanting:
            try:
                listener.hear(sale, outcomes)
            except Exception:
                log.exception("news.listener_failed", sale=sale_id)


def _channel_of(client: Any) -> Any:
    """What one listens on. All nodes of a cluster pass the news on: any may be it, so that the next try is of another
    where one is lost. Left to itself the client takes the same node every time, in every process."""
    if isinstance(client, ClusterClient):
        return client.pubsub(node=random.choice(client.get_nodes()))  # type: ignore[no-untyped-call]  # noqa: S311 - no secret
    return client.pubsub()


@once
def news() -> NewsReader:
    """The reader of this process, started with its first listener (after a server has forked)."""
    return NewsReader()
