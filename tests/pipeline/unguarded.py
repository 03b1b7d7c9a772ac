"""The controls: the worker's application as it would be without its strainer and without its watchdog."""

from kombu.transport import TRANSPORT_ALIASES

import worker.process  # noqa: F401 - it comes first, so that it is undone
from worker.app import app
from worker.watchdog import Watched

app.conf.worker_consumer = "celery.worker.consumer:Consumer"
TRANSPORT_ALIASES["redis"] = "kombu.transport.redis:Transport"
app.steps["consumer"].discard(Watched)
