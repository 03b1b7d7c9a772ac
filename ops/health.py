"""`python -m ops.health http URL | worker NAME | beat | tables`: whether a process is well, as a container's check.

The last is whether PostgreSQL has the tables that this release needs: what a container waits for before it starts.

The standard library for HTTP, so that the image needs no curl. A Celery process says "alive" into Redis from its own
loop (worker/process.py); one whose loop hangs falls silent. Exits 0 for well, 1 with a line that says what is wrong.
"""

import socket
import sys
import urllib.error
import urllib.request

PROBE_SECONDS_MAX = 3


def main(arguments: list[str]) -> str | None:
    """The complaint about what the arguments name, or None if it is well."""
    match arguments:
        case ["http", url]:
            return http_problem(url)
        case ["worker", name]:
            from models import rediskeys  # noqa: PLC0415 - the web's check, every few seconds, does without

            return heartbeat_problem(rediskeys.worker_heartbeat(f"{name}@{socket.gethostname()}"))
        case ["beat"]:
            from models import rediskeys  # noqa: PLC0415

            return heartbeat_problem(rediskeys.BEAT_HEARTBEAT)
        case ["tables"]:
            return tables_problem()
    return "usage: python -m ops.health http URL | worker NAME | beat | tables"


def http_problem(url: str) -> str | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business with loopback
    try:
        opener.open(url, timeout=PROBE_SECONDS_MAX).close()
    except (OSError, ValueError) as why:
        return f"{url}: {why}"
    return None


def heartbeat_problem(key: str) -> str | None:
    from redis.exceptions import RedisError  # noqa: PLC0415

    from models.redisclient import redis_client  # noqa: PLC0415

    try:
        return None if redis_client().exists(key) else f"{key} is not there: nobody says that it is alive"
    except RedisError as why:
        return f"Redis is away: {why}"


def tables_problem() -> str | None:
    from models.readiness import UP, check_database  # noqa: PLC0415

    found = check_database()
    return None if found["migrations"] == UP else f"database {found['database']}, migrations {found['migrations']}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
