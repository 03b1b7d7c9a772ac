"""Celery processes as in tests/pipeline; whatever a test starts ends with it."""

from tests.pipeline.conftest import processes as processes  # noqa: PLC0414 - a fixture, for the tests beside this file
