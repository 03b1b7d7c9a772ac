"""The Postman collection: every call is in it, and its walk works from top to bottom against a shop that runs."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from models import rediskeys
from models.passwords import hash_password
from models.redisclient import redis_client
from models.settings import Settings, settings
from ops.documents import COLLECTION, ENVIRONMENT
from ops.ports import LOOPBACK, free_port
from ops.processes import application
from tests.openapi.replay import Replay
from web import postman
from web.description import operations
from web.postman_flow import FLOW

ROOT = Path(__file__).parents[2]
START_SECONDS = 240
PASSWORD = "the admin's own"
CELERY = (sys.executable, "-m", "celery", "--app", "worker.app", "worker", "--pool", "solo", "--concurrency", "1")


def items(collection):
    return [item for folder in collection["item"] for item in folder["item"]]


@pytest.fixture
def collection():
    return orjson.loads(COLLECTION.read_bytes())


@pytest.fixture
def running_shop(store, tmp_path) -> Iterator[str]:
    """The base URL of a web process and a worker behind it, as in production."""
    port = free_port()
    known = settings().model_copy(update={"host": LOOPBACK, "port": port, "web_workers": 1})
    [web] = [row for row in application(known) if row.name == "web"]
    commands = {
        "web": [sys.executable, *web.command(1)],
        "worker": [*CELERY, "--without-gossip", "--without-mingle", "--queues", "settlements", "--hostname", "w@test"],
    }
    running = []
    for name, command in commands.items():
        with (tmp_path / f"{name}.log").open("ab") as log:
            running.append(subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=log, stderr=log))
    try:
        end = time.monotonic() + START_SECONDS
        while not (is_up(port) and redis_client().exists(rediskeys.worker_heartbeat("w@test"))):
            logs = "".join((tmp_path / f"{name}.log").read_text()[-2000:] for name in commands)
            assert time.monotonic() < end, f"the shop did not start: {logs}"
            time.sleep(0.05)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def is_up(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_the_walk_works_from_top_to_bottom_and_twice_in_a_row(running_shop, make_user, collection):
    make_user(role="admin", email="admin@doorbuster.example", password_hash=hash_password(PASSWORD))

    for _ in range(2):
        replay = Replay(collection, environment() | {"baseUrl": running_shop, "adminPassword": PASSWORD})
        answers = list(replay.run("A walk"))

        assert not [str(answer) for answer in answers if not answer.is_as_wanted]
        assert len(answers) == len(FLOW)
        # The rest is for whoever has its ids at hand; unknown ones are told so.
        for answer in replay.run("More: "):
            assert answer.status < 500, str(answer)


def environment():
    values = orjson.loads(ENVIRONMENT.read_bytes())["values"]
    return {each["key"]: each["value"] for each in values if each["enabled"]}


def test_every_operation_of_the_description_is_in_the_collection(document, collection):
    described = {
        (method.upper(), re.sub(r"\{(\w+)\}", r":\1", path))
        for path, methods in document["paths"].items()
        for method in methods
    }
    called = {(item["request"]["method"], "/" + "/".join(item["request"]["url"]["path"])) for item in items(collection)}

    assert called == described


def test_the_walk_names_operations_that_there_are(document):
    assert {step.operation for step in FLOW} <= {operation["operationId"] for operation in operations(document)}


def test_every_variable_is_declared_once_and_the_environment_fills_the_first_ones(collection):
    used = set(re.findall(r"\{\{([a-zA-Z]\w*)\}\}", COLLECTION.read_text()))
    declared = [each["key"] for each in collection["variable"]]

    assert len(declared) == len(set(declared))
    assert used == set(declared) | set(environment())


def test_the_collection_alone_knows_where_the_demo_is(document):
    variables = {each["key"]: each["value"] for each in postman.collection(document)["variable"]}

    assert variables["baseUrl"] == environment()["baseUrl"] == f"http://localhost:{Settings(_env_file=None).port}"
    # Who the admin is, and their password, is the environment's alone: a collection is passed on.
    assert not {"adminEmail", "adminPassword"} & set(variables)


def test_the_collection_is_served_as_it_stands_in_its_file(app, collection):
    answer = app.test_client().get("/api/postman.json")

    assert answer.json == collection
    assert collection["info"]["schema"].endswith("/v2.1.0/collection.json")
