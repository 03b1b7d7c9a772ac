"""Web servers for measuring: the shop and what it is compared with, on the same server with the same settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bench.stack import Running, Stack, started, wait_until_it_answers
from ops.boot import loopback_url
from ops.ports import LOOPBACK, free_port
from ops.processes import WSGI_APP, Process

BARE_APP = "bench.bare:app"
GUNICORN_BACKLOG = 4_096


@dataclass(frozen=True, slots=True)
class Server:
    """A web server that answers."""

    url: str
    running: Running


@contextmanager
def granian(stack: Stack, target: str = WSGI_APP, *, workers: int, threads: int | None = None) -> Iterator[Server]:
    """The web row of the table of processes with so many processes of so many threads (the shop's unless given).

    Another application than ours is served as granian serves a plain WSGI application.
    """
    port = free_port()
    threads = threads or stack.settings.web_threads
    row = stack.row("web", port=port, web_workers=workers, web_threads=threads)
    with started(stack, row if target == WSGI_APP else _plain(row, threads), target=target) as running:
        yield _when_it_answers(port, running)


@contextmanager
def gunicorn(stack: Stack, target: str, *, workers: int = 2, threads: int = 8) -> Iterator[Server]:
    """Gunicorn with threads, as most Flask applications are served."""
    port = free_port()
    options = {
        "--worker-class": "gthread",
        "--workers": workers,
        "--threads": threads,
        "--backlog": GUNICORN_BACKLOG,
        "--bind": f"{LOOPBACK}:{port}",
    }
    words = (str(word) for pair in options.items() for word in pair)
    row = Process(name="gunicorn", argv=("-m", "gunicorn", "--no-control-socket", *words, target))
    with started(stack, row, target=target) as running:
        yield _when_it_answers(port, running)


def _plain(row: Process, threads: int) -> Process:
    words = {"web.serve": "granian", "asgi": "wsgi"}
    argv = (*(words.get(word, word) for word in row.argv[:-1]), "--blocking-threads", str(threads), row.argv[-1])
    return replace(row, argv=argv)


def _when_it_answers(port: int, running: Running) -> Server:
    url = loopback_url(LOOPBACK, port)
    wait_until_it_answers(f"{url}/healthz")
    return Server(url, running)
