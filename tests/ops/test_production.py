"""No secret has a default that production starts with, and what keeps it from starting is one line without a secret."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.settings import Settings, SettingsError, settings
from ops.ports import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 300
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
SOUND = {
    "environment": "production",
    "database_url": "postgresql://shop:oneOfManyLetters1@db/shop",
    "redis_url": "redis://:twoOfManyLetters2@cache:6379/0",
    "jwt_secret_key": KEY,
    "flower_basic_auth": "admin:fourOfManyLetters4",
}
# Each with the setting that the line has to name.
UNSAFE = [
    ({"jwt_secret_key": ""}, "JWT_SECRET_KEY must be set"),
    ({"jwt_secret_key": KEY[:31]}, "JWT_SECRET_KEY must have at least 32 bytes"),
    ({"jwt_secret_key": "x" * 40}, "JWT_SECRET_KEY"),
    ({"jwt_secret_key": "please-change-me-0123456789-abcdef"}, "JWT_SECRET_KEY"),
    ({"jwt_previous_keys": f"{KEY},{'ab' * 20}"}, "JWT_PREVIOUS_KEYS"),
    ({"database_url": "postgresql://postgres:postgres@db/shop"}, "DATABASE_URL"),
    ({"database_url": "postgresql://shop:passpasspasspass@db/shop"}, "DATABASE_URL"),
    ({"redis_url": "redis://cache:6379/0"}, "REDIS_URL must hold a password"),
    ({"redis_url": "redis://:redis@cache:6379/0"}, "REDIS_URL"),
    ({"broker_url": "amqp://guest:guest@rabbit//"}, "BROKER_URL"),
    ({"flower_basic_auth": "admin:admin"}, "FLOWER_BASIC_AUTH"),
    ({"metrics_token": "prometheus"}, "METRICS_TOKEN"),
    ({"flower_basic_auth": ":fourOfManyLetters4"}, "FLOWER_BASIC_AUTH must be user:password"),
    ({"allow_admin_signup": True}, "ALLOW_ADMIN_SIGNUP"),
    ({"trusted_proxies": "0.0.0.0/0"}, "TRUSTED_PROXIES"),
    ({"rate_limit_exempt": "10.0.0.0/8, ::/0"}, "RATE_LIMIT_EXEMPT"),
]
SECRETS = ("please-change-me", "postgres:postgres", "passpasspass", "guest", "fourOfMany", KEY, "xxxx", "abab")


def start(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]


def test_a_production_whose_secrets_are_sound_starts() -> None:
    assert start(**SOUND).environment == "production"


@pytest.mark.parametrize(("change", "told"), UNSAFE)
def test_production_refuses_to_start_and_names_the_setting_but_no_secret(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        start(**SOUND | change)

    assert told in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize(("change", "told"), [each for each in UNSAFE if "at least 32" not in each[1]])
def test_a_laptop_may_start_with_any_of_them(change: dict[str, object], told: str) -> None:
    assert start(**SOUND | change | {"environment": "development"}), told


@pytest.mark.parametrize("origin", ["*", "null", "https://", "shop.example", "https://shop.example/", "https://a.b/c"])
def test_an_origin_that_is_everybody_or_none_is_refused_wherever_it_starts(origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        start(cors_origins=f"https://shop.example, {origin}")


def test_origins_with_ports_and_addresses_are_origins() -> None:
    told = "https://shop.example,http://localhost:3000,http://127.0.0.1:8000,http://[::1]:8000"

    assert start(cors_origins=told).cors_origins == tuple(told.split(","))


def test_a_process_says_why_it_does_not_start_in_one_line_without_what_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What this process knows is left alone: threads of it go on asking.
    settings()
    for name, value in (SOUND | {"jwt_secret_key": "too-short-a-key"}).items():
        monkeypatch.setenv(name.upper(), value)

    with pytest.raises(SettingsError) as caught:
        settings.__wrapped__()

    assert str(caught.value) == "JWT_SECRET_KEY must have at least 32 bytes"
    assert caught.value.__suppress_context__


def run(directory: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    given = {name.upper(): value for name, value in SOUND.items() if name != "flower_basic_auth"}
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=directory,
        env=inherited | given | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_web_server_does_not_start_with_a_default_and_its_log_holds_no_secret(tmp_path: Path) -> None:
    web = run(tmp_path, "-c", "import wsgi", JWT_SECRET_KEY="x" * 40, REDIS_URL="redis://:letmein-9@cache/0")

    said, _ = web.communicate(timeout=START_SECONDS_MAX)

    assert web.returncode == 1
    assert "SettingsError: JWT_SECRET_KEY" in said.splitlines()[-1]
    assert "REDIS_URL" in said.splitlines()[-1]
    assert not any(secret in said for secret in ("letmein-9", "xxxx", "oneOfManyLetters1"))


FLOWER = ("-m", "celery", "--app", "worker.app", "flower", "--address=127.0.0.1")


def test_flower_does_not_start_in_production_without_a_password(tmp_path: Path) -> None:
    flower = run(tmp_path, *FLOWER, f"--port={free_port()}")

    said, _ = flower.communicate(timeout=START_SECONDS_MAX)

    assert flower.returncode == 1
    assert "doorbuster: FLOWER_BASIC_AUTH must be set in production" in said


def test_flower_asks_for_the_password_that_stands_in_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"FLOWER_BASIC_AUTH={SOUND['flower_basic_auth']}\n")
    port = free_port()
    flower = run(tmp_path, *FLOWER, f"--port={port}", REDIS_URL="redis://:twoOfManyLetters2@127.0.0.1:1/0")
    try:
        assert status_of(f"http://127.0.0.1:{port}/workers", flower) == 401
    finally:
        flower.kill()
        flower.communicate(timeout=60)


def status_of(url: str, process: "subprocess.Popen[str]") -> int:
    """What it answers as soon as it answers."""
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own address
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"{url} does not answer")
