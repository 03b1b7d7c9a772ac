"""What Prometheus is told, and who may ask."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from models import metrics, metrics_state, rediskeys
from models.gate import admit
from models.heartbeats import beat
from models.lines import Line
from models.purchase import Kind
from models.redisclient import redis_client
from models.settle import settle_turn

ROOT = Path(__file__).parents[2]
TOKEN = "only Prometheus knows this"


def told(answer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.fixture
def sample(client):
    """sample(name, **labels) -> its value now, 0 where nothing was counted"""
    return lambda name, **labels: told(client.get("/metrics")).get((name, tuple(sorted(labels.items()))), 0)


def test_this_machine_may_ask_where_no_token_is_set(client):
    answer = client.get("/metrics")

    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"])
def test_nobody_may_ask_through_a_proxy_on_this_machine(client, header):
    assert client.get("/metrics", headers={header: "203.0.113.7"}).status_code == 404


@pytest.mark.parametrize("address", ["203.0.113.7", "10.0.0.5", "::ffff:203.0.113.7", ""])
def test_nobody_may_ask_from_elsewhere(client, address):
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": address}).status_code == 404


def test_with_a_token_whoever_shows_it_may_ask_from_anywhere_and_nobody_else(client, change_settings):
    change_settings(METRICS_TOKEN=TOKEN)
    elsewhere = {"environ_base": {"REMOTE_ADDR": "203.0.113.7"}}

    for shown in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"}):
        assert client.get("/metrics", headers=shown).status_code == 404
    assert client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, **elsewhere).status_code == 200


def test_answers_are_counted_by_their_class_and_refusals_by_their_code(client, sample):
    answers = sample("doorbuster_http_responses_total", status="4xx")
    refusals = sample("doorbuster_refused_total", code="NOT_FOUND")

    client.get("/api/nothing-of-this-name")

    assert sample("doorbuster_http_responses_total", status="4xx") == answers + 1
    assert sample("doorbuster_refused_total", code="NOT_FOUND") == refusals + 1


def test_what_the_gate_let_in_is_counted_with_the_time_that_it_took(sample):
    before = sample("doorbuster_accepted_total"), sample("doorbuster_gate_seconds_count")

    for seconds in (0.001, 0.003, 9.0):
        metrics.admitted(seconds)

    assert sample("doorbuster_accepted_total") == before[0] + 3
    assert sample("doorbuster_gate_seconds_count") == before[1] + 3


def test_a_settled_batch_is_counted_by_outcome_with_its_size_and_how_long_its_buyers_waited(make_sale, sample):
    sale = make_sale(total_stock=2)
    confirmed = sample("doorbuster_settled_total", outcome="confirmed")
    rejected = sample("doorbuster_settled_total", outcome="rejected")
    small = sample("doorbuster_settle_batch_requests_bucket", le="2.0")
    five = sample("doorbuster_settle_batch_requests_bucket", le="5.0")
    waited = sample("doorbuster_outcome_seconds_count")
    for buyer in (1, 2, 3):
        admit(sale.id, buyer, Kind.PURCHASE, 1)

    settle_turn(sale.id)

    assert sample("doorbuster_settled_total", outcome="confirmed") == confirmed + 2
    assert sample("doorbuster_settled_total", outcome="rejected") == rejected + 1
    assert sample("doorbuster_settle_batch_requests_bucket", le="2.0") == small
    assert sample("doorbuster_settle_batch_requests_bucket", le="5.0") == five + 1
    assert sample("doorbuster_outcome_seconds_count") == waited + 3


def test_many_at_once_are_counted_as_one_after_the_other():
    registry = CollectorRegistry()
    one = metrics.Tally("one", "-", buckets=metrics.FAST_BUCKETS, registry=registry)
    many = metrics.Tally("many", "-", buckets=metrics.FAST_BUCKETS, registry=registry)
    amounts = [0.0, 0.0005, 0.00051, 0.3, 2.5, 2.6, 1000.0]

    for amount in amounts:
        one.observe(amount)
    many.observe_many(amounts)

    first, second = ([(each.labels, each.value) for each in metric.collect()[0].samples] for metric in (one, many))
    created = 1
    assert first[:-created] == second[:-created]


def test_the_way_of_a_request_spends_next_to_nothing_on_counting():
    times = 20_000
    best = min(_seconds_of(times) for _ in range(5))

    # Noting takes under a µs; the bound is the one that the way of a request may spend.
    assert best / times < 10e-6


def _seconds_of(times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        metrics.admitted(0.001)
    return time.perf_counter() - began


def test_a_worker_that_is_away_and_a_late_beat_are_told(make_sale, sample):
    make_sale()
    assert sample("doorbuster_up", part="settleWorker") == 0
    assert sample("doorbuster_beat_age_seconds") == rediskeys.BEAT_HEARTBEAT_SECONDS

    beat("settle@here", ["settlements"])
    redis_client().set(rediskeys.BEAT_HEARTBEAT, "1", ex=rediskeys.BEAT_HEARTBEAT_SECONDS)

    assert sample("doorbuster_up", part="settleWorker") == 1
    assert sample("doorbuster_worker_heartbeat_age_seconds", worker="settle@here", queues="settlements") < 10
    assert sample("doorbuster_beat_age_seconds") < 10


def test_a_line_is_told_with_how_many_wait_and_how_long(make_sale, sample):
    sale = make_sale()
    for buyer in (1, 2):
        admit(sale.id, buyer, Kind.PURCHASE, 1)

    assert sample("doorbuster_line_requests", sale=str(sale.id)) == 2
    assert sample("doorbuster_line_oldest_wait_seconds", sale=str(sale.id)) < 60


def test_ten_thousand_lines_make_no_more_series_than_twenty():
    lines = [Line(sale_id, 2, float(10_000 - sale_id)) for sale_id in range(10_000)]

    waiting, oldest = metrics_state._lines(lines)

    assert len(waiting.samples) == len(oldest.samples) == metrics_state.LINES_MAX + 1
    assert sum(each.value for each in waiting.samples) == 20_000
    others = {each.labels["sale"]: each.value for each in oldest.samples}[metrics_state.OTHERS]
    assert others == 10_000 - metrics_state.LINES_MAX


def test_without_servers_prometheus_is_told_that_they_are_away(client, change_settings):
    change_settings(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")

    answer = client.get("/metrics")

    assert answer.status_code == 200
    assert told(answer)["doorbuster_up", (("part", "database"),)] == 0


# The library comes first, as in a Celery worker, whose command line imports it for Flower.
COUNTING = """
import sys, time
import prometheus_client
from models import metrics
metrics.admitted(0.001); metrics.admitted(0.001); metrics.flush()
metrics.SOCKETS.inc()
print("counted", flush=True)
time.sleep(600)
"""


def test_the_processes_of_one_machine_count_together_and_the_dead_hold_no_sockets(servers, tmp_path):
    environment = os.environ | {"METRICS_DIR": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", COUNTING], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for process in running:
            assert process.stdout.readline() == b"counted\n"
        assert _read_together(environment) == (4.0, 2.0)

        running[0].send_signal(signal.SIGKILL)
        running[0].wait(60)

        assert _read_together(environment) == (4.0, 1.0)
    finally:
        for process in running:
            process.kill()
            process.wait(60)
            process.stdout.close()


READING = """
from models import metrics
registry = metrics.registry()
print(registry.get_sample_value("doorbuster_accepted_total"), registry.get_sample_value("doorbuster_sockets"))
"""


def _read_together(environment: dict[str, str]) -> tuple[float, float]:
    read = subprocess.run(
        [sys.executable, "-c", READING],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    accepted, sockets = read.stdout.split()
    return float(accepted), float(sockets)
