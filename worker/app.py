"""The Celery application of the workers, beat and Flower."""

import sys

from celery import Celery

from worker.flower import lock_flower

lock_flower(sys.argv[1:])
app = Celery("doorbuster", include=["worker.settling", "worker.chores", "worker.process", "worker.watchdog"])
app.config_from_object("celeryconfig")
