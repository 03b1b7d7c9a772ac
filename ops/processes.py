"""The one table of the processes: what runs, how many of each, and how each is stopped.

`make run` turns it into the supervisor's configuration; docker-compose.yml says the same and a test holds the two
together. Every command starts with `python -m`, so that a checkout that was moved still finds its programs.
"""

import signal
from dataclasses import dataclass

from models.settings import Settings

WSGI_APP = "wsgi:app"
CELERY_APP = "worker.app"
SETTLE_QUEUE = "settlements"
CHORES_QUEUE = "chores"

# Connections, not requests: granian counts every open keep-alive connection of a web process against this.
WEB_CONNECTIONS_MAX = 4_096
WEB_KILL_SECONDS = 5
# Of one request: all its headers together, and the time that they may take to come.
WEB_HEADERS_BYTES_MAX = 65_536
WEB_HEADERS_MS_MAX = 10_000
LIVE_CONNECTIONS_MAX = 6_000
LIVE_GRACE_SECONDS = 8
# Whom gunicorn itself believes about https: TRUSTED_PROXIES says it for the whole application (web/forwarded.py).
NOBODY = "0.0.0.0"  # noqa: S104 - no peer has this address


@dataclass(frozen=True)
class Process:
    """One row: `count` processes that each run `command(number)`."""

    name: str
    argv: tuple[str, ...]  # "{number}" in a word stands for which of them it is, from 1
    count: int = 1
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: int = 10  # from the stop signal to SIGKILL
    environment: tuple[tuple[str, str], ...] = ()
    is_server: bool = False  # an embedded server: started before the rest and stopped after it

    @property
    def programs(self) -> dict[str, list[str]]:
        """Every process of this row by its own name (`worker-1`, or plain `web` when there is one) and its command."""
        if self.count == 1:
            return {self.name: self.command(1)}
        return {f"{self.name}-{number}": self.command(number) for number in range(1, self.count + 1)}

    def command(self, number: int) -> list[str]:
        """The arguments after the interpreter of the `number`th of these processes."""
        return [word.replace("{number}", str(number)) for word in self.argv]


MIGRATE = Process(name="migrate", argv=("-m", "alembic", "upgrade", "head"))
SEED = Process(name="demo", argv=("-m", "ops.demo"))

# `ops.serve` prepares the server and becomes it. The stop is PostgreSQL's "fast" one, which does not wait for clients.
POSTGRES = Process(
    name="postgres",
    argv=("-m", "ops.serve", "postgres"),
    stop_signal=signal.SIGINT,
    grace_seconds=30,
    is_server=True,
)
REDIS = Process(name="redis", argv=("-m", "ops.serve", "redis"), grace_seconds=30, is_server=True)


def application(settings: Settings) -> tuple[Process, ...]:
    """The processes of Doorbuster itself, whoever runs its PostgreSQL and Redis."""
    return (_web(settings), _live(settings), *_celery(settings), _flower(settings))


def _web(settings: Settings) -> Process:
    """HTTP and pages, on granian: the front (web/front.py), with the application behind it."""
    options = {
        "--interface": "asgi",
        "--host": settings.host,
        "--port": settings.port,
        "--http": "1",
        "--workers": settings.web_workers,
        "--backlog": WEB_CONNECTIONS_MAX,
        "--backpressure": WEB_CONNECTIONS_MAX,
        "--workers-kill-timeout": WEB_KILL_SECONDS,
        "--http1-buffer-size": WEB_HEADERS_BYTES_MAX,
        "--http1-header-read-timeout": WEB_HEADERS_MS_MAX,
        "--log-level": "warning",
    }
    flags = ("--no-ws", "--respawn-failed-workers")
    return Process(name="web", argv=("-m", "web.serve", *_words(options), *flags, WSGI_APP))


def _live(settings: Settings) -> Process:
    """WebSockets, and waits that would hold a thread of web, on gunicorn with gevent."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    options = {
        "--worker-class": "gevent",
        "--workers": settings.live_workers,
        "--worker-connections": LIVE_CONNECTIONS_MAX,
        "--graceful-timeout": LIVE_GRACE_SECONDS,
        "--forwarded-allow-ips": NOBODY,
        "--bind": f"{host}:{settings.live_port}",
    }
    return Process(name="live", argv=("-m", "gunicorn", "--no-control-socket", *_words(options), WSGI_APP))


def _celery(settings: Settings) -> tuple[Process, ...]:
    """Settling, chores, and the clock that sends them."""
    celery = ("-m", "celery", "--app", CELERY_APP)
    # A pool of one in the process itself: the settling of one sale is one thing after another, and a fork between the
    # message and the work is one more thing that can die alone.
    worker = (*celery, "worker", "--pool", "solo", "--concurrency", "1", "--without-gossip", "--without-mingle")
    log = ("--loglevel", settings.log_level)
    return (
        Process(
            name="worker",
            argv=(*worker, "--queues", SETTLE_QUEUE, "--hostname", "settle-{number}@%h", *log),
            count=settings.settle_workers,
        ),
        Process(name="chores", argv=(*worker, "--queues", CHORES_QUEUE, "--hostname", "chores@%h", *log)),
        # The schedule lives in memory on purpose: every job is idempotent per period, so there is nothing to remember.
        Process(name="beat", argv=(*celery, "beat", "--scheduler", "worker.beat:BoundedScheduler", "--pidfile=", *log)),
    )


def _flower(settings: Settings) -> Process:
    """Flower reads its password from FLOWER_BASIC_AUTH: an argument would show it to everybody on the machine."""
    options = {"--address": settings.host, "--port": settings.flower_port}
    arguments = [f"{name}={value}" for name, value in options.items()]
    return Process(name="flower", argv=("-m", "celery", "--app", CELERY_APP, "flower", *arguments), grace_seconds=5)


def _words(options: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(word) for pair in options.items() for word in pair)
