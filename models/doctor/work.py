"""Who works: settling workers, the worker of chores, beat, and the broker between them."""

from collections.abc import Iterator
from contextlib import suppress

from amqp.exceptions import AMQPError
from kombu import Connection
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from models import rediskeys, tasks
from models.database import transaction
from models.doctor.finding import Finding, critical, warning
from models.heartbeats import read_workers
from models.redisclient import redis_client
from models.sale import FlashSale, SaleState
from models.settings import settings

BROKER_SECONDS_MAX = 3.0
DEDICATED_MAX = 100


def look_at_broker() -> Iterator[Finding]:
    """A broker of its own may be away while Redis is there; then only the sweeper wakes sales, if it can."""
    url = settings().celery_broker_url
    if url == settings().redis_url:
        return
    try:
        if url.startswith("redis"):
            with Redis.from_url(url, socket_timeout=BROKER_SECONDS_MAX, retry=None) as client:
                client.ping()
        else:
            waits = dict.fromkeys(("read_timeout", "write_timeout"), BROKER_SECONDS_MAX)
            # Logged in: that somebody listens says little of a broker.
            with Connection(url, connect_timeout=BROKER_SECONDS_MAX, transport_options=waits) as connection:
                connection.connect()
    except (OSError, RedisError, AMQPError, ValueError) as error:
        what = f"the broker does not answer ({type(error).__name__}): nobody is woken"
        yield critical("BROKER_AWAY", what, "start it, or mend BROKER_URL")


def look() -> Iterator[Finding]:
    seen, at_ms = read_workers()
    heard_since_ms = at_ms - rediskeys.WORKER_HEARTBEAT_SECONDS * 1000
    at_work = [worker for worker in seen if worker.seen_ms > heard_since_ms]
    silent = [worker for worker in seen if worker.seen_ms <= heard_since_ms]
    queues = {queue for worker in at_work for queue in worker.queues}
    if tasks.SETTLEMENTS_QUEUE not in queues:
        what = "no worker takes from the queue `settlements`: requests are accepted, and nobody decides them"
        yield critical("NO_SETTLE_WORKER", what, "start one: celery --app worker.app worker --queues settlements …")
    if tasks.CHORES_QUEUE not in queues:
        what = "no worker takes from the queue `chores`: nothing opens, ends, expires or is swept"
        yield critical("NO_CHORES_WORKER", what, "start one: celery --app worker.app worker --queues chores …")
    if not redis_client().exists(rediskeys.BEAT_HEARTBEAT):
        what = "no tick of beat was worked off in the last 15 s"
        yield critical("BEAT_SILENT", what, "start beat, and look at the worker of chores: both are needed for a tick")
    for worker in silent:
        seconds = (at_ms - worker.seen_ms) // 1000
        what = f"worker {worker.name} ({', '.join(worker.queues)}) was last heard of {seconds} s ago"
        yield warning("WORKER_SILENT", what, "restart it; if it was taken away, it is forgotten within the hour")
    with suppress(SQLAlchemyError):  # PostgreSQL's being away is a finding of its own
        yield from _dedicated(queues)


def _dedicated(queues: set[str]) -> Iterator[Finding]:
    active = FlashSale.state.in_((SaleState.SCHEDULED, SaleState.LIVE))
    query = (
        select(FlashSale.id).where(FlashSale.dedicated, active, FlashSale.archived_at.is_(None)).limit(DEDICATED_MAX)
    )
    with transaction() as session:
        sale_ids = list(session.scalars(query))
    for sale_id in sale_ids:
        queue = tasks.settle_queue(sale_id, dedicated=True)
        if queue not in queues:
            what = f"sale {sale_id} is to have a worker of its own, and none takes from `{queue}`"
            cure = (
                f"celery --app worker.app worker --pool solo --concurrency 1 --queues {queue}; the shared come 2 s late"
            )
            yield warning("NO_DEDICATED_WORKER", what, cure)
