"""The alerts and the dashboard speak of metrics that are there."""

import json
import os
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

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "ops" / "monitoring"
CASES = Path(__file__).with_name("alerts.yml")
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


@pytest.fixture
def promtool() -> str:
    """Without it these tests are skipped, and say so; with REQUIRE_PROMTOOL=1 they fail."""
    found = shutil.which("promtool") or shutil.which("promtool", path=ROOT / ".cache")
    if found is None:
        words = "there is no promtool here: make promtool"
        if os.environ.get("REQUIRE_PROMTOOL") == "1":
            pytest.fail(words)
        pytest.skip(words)
    return found


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=MONITORING, check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "words", [("check", "rules", "alerts.yml"), ("check", "config", "--syntax-only", "prometheus.yml")]
)
def test_promtool_agrees(promtool, words):
    done = run(promtool, *words)

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_for_what_it_is_about_and_none_on_a_healthy_shop(promtool):
    done = run(promtool, "test", "rules", str(CASES))

    assert done.returncode == 0, done.stdout + done.stderr
    assert {rule["alert"] for rule in ALERTS} == set(re.findall(r"Doorbuster\w+", CASES.read_text()))


def test_what_the_dashboard_asks_can_be_answered(promtool, tmp_path):
    asked = [target["expr"].replace("$__rate_interval", "1m") for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"asked:{number}", "expr": query} for number, query in enumerate(asked)]
    (tmp_path / "asked.yml").write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))

    done = run(promtool, "check", "rules", str(tmp_path / "asked.yml"))

    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_what_is_wrong(promtool, tmp_path):
    """The control: an alert that asks for nonsense, and one that no longer fires."""
    (tmp_path / "nonsense.yml").write_text("groups: [{name: a, rules: [{alert: A, expr: 'sum by (rate('}]}]")
    softer = (MONITORING / "alerts.yml").read_text().replace("doorbuster_beat_age_seconds) > 10", "vector(0)) > 10")
    (tmp_path / "softer.yml").write_text(softer)
    (tmp_path / "cases.yml").write_text(CASES.read_text().replace("../../ops/monitoring/alerts.yml", "softer.yml"))

    assert run(promtool, "check", "rules", str(tmp_path / "nonsense.yml")).returncode != 0
    assert run(promtool, "test", "rules", str(tmp_path / "cases.yml")).returncode != 0
