"""The Celery application of the workers, beat and Flower."""

from celery import Celery

app = Celery("doorbuster", include=["worker.settling", "worker.chores", "worker.process", "worker.watchdog"])
app.config_from_object("celeryconfig")
