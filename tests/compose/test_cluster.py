"""docker-compose.cluster.yml changes where the shop's servers are and how many there are of each, and nothing else.

The real Compose puts the two files together; the servers' options are tried on the real servers, without an engine.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from models.settings import Settings
from ops.ports import LOOPBACK, free_port, free_ports
from tests.compose.test_compose import COMPOSE, OURS, SECRETS, table
from tests.conftest import Servers
from tests.ending import end

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "docker-compose.cluster.yml")
MORE_SECRETS = SECRETS | {"RABBITMQ_PASSWORD": "fiveOfManyLetters5"}
NODES = {f"redis-{number}" for number in range(1, 7)}
SERVERS = NODES | {"redis-join", "postgres", "postgres-replica", "pgbouncer", "rabbitmq"}
START_SECONDS_MAX = 60

Service = dict[str, Any]


def compose(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    files = [word for name in FILES for word in ("--file", str(ROOT / name))]
    return subprocess.run(
        [COMPOSE, *files, "--env-file", os.devnull, *words],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
        timeout=60,
    )


@pytest.fixture(scope="module")
def found() -> dict[str, Service]:
    told = compose("config", "--format", "json", **MORE_SECRETS)
    assert (told.returncode, told.stderr) == (0, "")
    services: dict[str, Service] = json.loads(told.stdout)["services"]
    return services


def test_the_shop_is_the_same_on_other_servers(found: dict[str, Service]) -> None:
    assert set(found) == OURS | SERVERS | {"proxy"}, "the one Redis is not among them"
    for name in OURS:
        expected = table(settle_workers=3) if name == "worker" else table()
        assert found[name]["command"] == ["python", *expected[name].command(1)], name
    several = {name: found[name]["deploy"]["replicas"] for name in ("web", "live", "worker", "chores")}
    assert min(several.values()) > 1


def test_everybody_is_told_where_the_servers_are_in_settings_that_there_are(found: dict[str, Service]) -> None:
    for name in OURS:
        environment = found[name]["environment"]
        assert {key.lower() for key in environment} <= set(Settings.model_fields), name
        known = {key.lower(): value for key, value in environment.items() if value}
        inside = Settings(_env_file=None, **known)
        assert set(re.findall(r"redis-\d", inside.redis_url)) == NODES
        assert inside.redis_is_cluster
        assert inside.redis_wait_replicas == 1
        assert "@postgres-replica:" in inside.database_replica_url
        assert inside.celery_broker_url.startswith("amqp://")
        assert inside.environment == "production"
        # The migration keeps a session for itself, which a pooler does not lend.
        assert ("pgbouncer" in inside.database_url, inside.database_pooled) == ((name != "migrate",) * 2), name


def test_nobody_starts_before_the_servers_that_they_need(found: dict[str, Service]) -> None:
    for name in ("web", "live", "worker", "chores"):
        assert {other: needed["condition"] for other, needed in found[name]["depends_on"].items()} == {
            "migrate": "service_completed_successfully",
            "redis-join": "service_completed_successfully",
            "rabbitmq": "service_healthy",
            "pgbouncer": "service_healthy",
        }
    assert set(found["redis-join"]["depends_on"]) == NODES


def test_the_servers_are_as_confined_as_those_of_one_machine(found: dict[str, Service]) -> None:
    for name in SERVERS:
        service = found[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("ports"), name
        assert set(service["networks"]) == {"back"}, name
        assert name == "redis-join" or "test" in service["healthcheck"], name
    volumes = [found[name]["volumes"][0]["source"] for name in NODES]
    assert len(set(volumes)) == len(NODES), "each node has a disk of its own"


@pytest.mark.parametrize("name", ["RABBITMQ_PASSWORD", "REDIS_PASSWORD"])
def test_nothing_starts_without_a_password(name: str) -> None:
    told = compose("config", "--quiet", **{other: value for other, value in MORE_SECRETS.items() if other != name})

    assert told.returncode != 0
    assert f"set {name}" in told.stderr


def test_the_options_of_a_node_are_those_of_a_durable_cluster(
    found: dict[str, Service], servers: Servers, tmp_path: Path
) -> None:
    """The very command of the container, with a real server in the place of the image's."""
    port, bus = free_ports(2)
    command = found["redis-3"]["command"][2].replace("$$", "$").replace("valkey-server", str(servers.valkey.binary))
    command = command.replace("--dir /data", f"--dir {tmp_path} --port {port} --cluster-port {bus} --bind {LOOPBACK}")
    environment = {"REDIS_PASSWORD": "aPassword", "HOSTNAME": "redis-3", "PATH": os.environ["PATH"]}

    with running(["sh", "-c", command], environment):
        client = redis.Redis(LOOPBACK, port, password="aPassword", decode_responses=True)
        eventually(client.ping)
        told = client.config_get("*")
        client.close()

    wanted = {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "cluster-enabled": "yes",
        "cluster-require-full-coverage": "no",
        "cluster-replica-validity-factor": "0",
        "cluster-announce-hostname": "redis-3",
        "cluster-preferred-endpoint-type": "hostname",
    }
    assert {option: told[option] for option in wanted} == wanted
    assert told["primaryauth"] == "aPassword"


def test_the_standby_copies_the_primary_follows_it_and_goes_on_after_a_restart(
    store: Servers, found: dict[str, Service]
) -> None:
    """follow.sh itself, with real servers."""
    primary, port = store.postgres, free_port()
    account = primary.account
    home = primary.place / "standby"
    home.mkdir()
    script = home / "follow.sh"
    script.write_bytes((ROOT / "ops/compose/follow.sh").read_bytes())
    if account:
        os.chown(home, account.uid, account.gid)
    environment = {
        "PATH": f"{primary.binary.parent}:{os.environ['PATH']}",
        "LC_ALL": "C",
        "PGDATA": str(home / "data"),
        "PGPASSWORD": primary.password,
        "PRIMARY": f"host={LOOPBACK} port={primary.port} user=doorbuster",
        "STANDBY_SLOT": "of_a_test",
    }
    assert environment.keys() - {"PATH", "LC_ALL", "PGDATA"} == found["postgres-replica"]["environment"].keys()
    options = ["-p", str(port), "-c", f"listen_addresses={LOOPBACK}", "-c", "unix_socket_directories="]
    command = ["sh", str(script), *options]
    address = primary.url.replace(f":{primary.port}/", f":{port}/")

    def standby_has(name: str) -> bool:
        question = "SELECT 1 WHERE pg_is_in_recovery() AND to_regclass(%s) IS NOT NULL"
        with psycopg.connect(address, connect_timeout=3) as connection:
            return connection.execute(question, (name,)).fetchone() is not None

    with psycopg.connect(primary.url, autocommit=True) as connection:
        try:
            for name in ("followed_1", "followed_2"):
                with running(command, environment, **(account.popen if account else {})):
                    connection.execute(f"CREATE TABLE {name} ()")
                    eventually(partial(standby_has, name))
        finally:
            connection.execute("DROP TABLE IF EXISTS followed_1, followed_2")
            eventually(lambda: not connection.execute("SELECT 1 FROM pg_replication_slots WHERE active").fetchone())
            connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


@contextmanager
def running(command: list[str], environment: dict[str, str], **how: Any) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment, cwd="/", **how)
    try:
        yield
    finally:
        end(process)


def eventually(condition: Any) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            if condition():
                return
        except (redis.ConnectionError, psycopg.OperationalError):
            pass
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def test_the_scripts_that_are_mounted_are_there_and_read_well(found: dict[str, Service]) -> None:
    mounted = [
        volume for service in found.values() for volume in service.get("volumes", ()) if volume["type"] == "bind"
    ]
    scripts = {Path(volume["source"]) for volume in mounted if volume["source"].endswith(".sh")}

    assert {script.name for script in scripts} == {"allow-replica.sh", "follow.sh", "join.sh"}
    for script in scripts:
        assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
        assert os.access(script, os.X_OK)
    assert all(volume["read_only"] for volume in mounted)
    names = set(re.findall(r"redis-\d", (ROOT / FILES[1]).read_text()))
    assert names == NODES
