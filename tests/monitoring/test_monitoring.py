"""The alerts and the dashboard speak of metrics that are there."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from models import metrics  # noqa: F401 - the counters register themselves
from models.heartbeats import beat
from models.metrics_state import SharedState
from models.settings import Settings

MONITORING = Path(__file__).parents[2] / "ops" / "monitoring"
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
PANELS = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
QUERIES = [rule["expr"] for rule in ALERTS] + [target["expr"] for panel in PANELS for target in panel["targets"]]
# Prometheus's conventions: https://prometheus.io/docs/practices/naming/
COUNTER = re.compile(r"doorbuster_[a-z_]+_total")
NOT_BASE_UNITS = re.compile(r"_(ms|us|milliseconds|minutes|hours|percent|kilobytes)(_|$)")


@pytest.fixture
def samples(store) -> set[str]:
    """The name of every sample that we tell of ourselves."""
    beat("settle@here", ["settlements"])
    return set(_named(REGISTRY.collect())) | set(_named(SharedState().collect()))


def _named(families) -> Iterator[str]:
    for family in families:
        if family.name.startswith("doorbuster"):
            # A metric with labels has no sample before it is counted for the first time.
            yield from ([sample.name for sample in family.samples] or [f"{family.name}_total"])


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_that_is_asked_for_is_told(samples, query):
    asked = set(re.findall(r"doorbuster_\w+", query))

    assert asked
    assert asked <= samples


def test_every_metric_is_looked_at_by_somebody(samples):
    asked = set(re.findall(r"doorbuster_\w+", " ".join(QUERIES)))
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in samples}

    unseen = {name for name in families if not any(each.startswith(name) for each in asked)}

    assert not {name for name in unseen if f"{name}_total" not in samples}


def test_names_follow_the_conventions_of_prometheus(samples):
    for family in REGISTRY.collect():
        if family.name.startswith("doorbuster"):
            assert family.documentation
            if family.type == "counter":
                assert COUNTER.fullmatch(f"{family.name}_total")
            if family.type == "histogram":
                assert family.name.endswith(("_seconds", "_requests"))
    assert not [name for name in samples if NOT_BASE_UNITS.search(name)]


def test_an_alert_says_what_is_wrong_and_whom_to_wake():
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert {"summary", "description"} <= set(rule["annotations"]), rule["alert"]


def test_what_prometheus_is_told_to_scrape_is_what_our_settings_know():
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]

    assert all(job.get("metrics_path", "/metrics") == "/metrics" for job in jobs)
    assert {"metrics_token", "metrics_port", "metrics_dir"} <= set(Settings.model_fields)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here: apt-get install prometheus")
@pytest.mark.parametrize(
    "words", [("check", "rules", "alerts.yml"), ("check", "config", "--syntax-only", "prometheus.yml")]
)
def test_promtool_agrees(words):
    subprocess.run(["promtool", *words], cwd=MONITORING, check=True, timeout=60)
