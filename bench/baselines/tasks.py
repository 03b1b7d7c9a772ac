"""A Celery task and a transaction for every purchase: `celery --app bench.baselines.tasks worker`.

No result backend: the outcome is a row, and buyers ask for it. Celery's own settings, without what only costs.
"""

import os

from celery import Celery

from bench.baselines.shop import REDIS_MARK
from bench.baselines.ways import TAKE, pool

app = Celery("baseline", broker=os.environ[REDIS_MARK])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=16,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    task_publish_retry=False,
    broker_pool_limit=32,
)

WRITE = """
    INSERT INTO purchases (request, sale_id, user_id, quantity, confirmed)
    VALUES (%(request)s, %(sale)s, %(user)s, %(quantity)s, %(confirmed)s) ON CONFLICT (request) DO NOTHING
"""


@app.task(name="buy")
def buy(request: str, sale: int, user: int, quantity: int) -> None:
    """Take the units and write the outcome, in one transaction."""
    values = {"request": request, "sale": sale, "user": user, "quantity": quantity}
    with pool().connection() as database, database.transaction():
        confirmed = database.execute(TAKE, values).rowcount == 1
        database.execute(WRITE, values | {"confirmed": confirmed})
