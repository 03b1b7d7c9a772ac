"""The address of a cluster, and what else has to be set beside it."""

import os
import subprocess
import sys

import pytest

from models.settings import Settings, SettingsError, settings


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://host:port",
        "redis+cluster://a:1,,b:2",
        "redis+cluster://:secret@a:1,b:99999",
        "redis+cluster://a:1/3",
    ],
)
def test_one_that_cannot_be_read_is_refused_without_its_password(url):
    with pytest.raises(ValueError, match=r"(?i)redis_url") as wrong:
        Settings(redis_url=url, broker_url="redis://b")
    assert "secret" not in str(wrong.value)


@pytest.mark.parametrize("broker", ["", "redis+cluster://a:1"])
def test_a_cluster_is_no_place_for_celery(broker, monkeypatch):
    # What this process knows is left alone: threads of it go on asking.
    settings()
    monkeypatch.setenv("REDIS_URL", "redis+cluster://a:1,b:2")
    monkeypatch.setenv("BROKER_URL", broker)
    with pytest.raises(SettingsError, match="BROKER_URL"):
        settings.__wrapped__()
    monkeypatch.setenv("BROKER_URL", "amqp://broker")
    assert settings.__wrapped__().celery_broker_url == "amqp://broker"


def test_a_start_without_a_broker_says_what_is_missing_in_a_line():
    given = os.environ | {
        "REDIS_URL": "redis+cluster://a:1,b:2",
        "BROKER_URL": "",
        "DATABASE_URL": "postgresql://x",
    }
    asked = [sys.executable, "-c", "import celeryconfig"]
    done = subprocess.run(asked, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "BROKER_URL must be set beside a cluster in REDIS_URL" in done.stderr.splitlines()[-1]
