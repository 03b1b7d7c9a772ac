"""From a bare supervisor to a shop that is open: wait for the servers, migrate, seed, start, wait, say where to go."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.rediscluster import ClusterClient
from models.settings import Settings
from ops.errors import OpsError
from ops.processes import MIGRATE, SEED, Process
from ops.state import DataDir
from ops.supervisor import Supervisor
from ops.terminal import say

SERVERS_SECONDS_MAX = 120
GIVEN_SECONDS_MAX = 15
JOB_SECONDS_MAX = 300
READY_SECONDS_MAX = 300
PROBE_SECONDS_MAX = 3
POLL_SECONDS = 0.2
LIVES_MAX = 4


class Boot:
    """The steps of one start, in the order of `run`."""

    def __init__(
        self,
        supervisor: Supervisor,
        settings: Settings,
        data_dir: DataDir,
        environment: dict[str, str],
        *,
        gives_up: bool = True,
    ) -> None:
        """`gives_up` if a part that dies again and again ends the start; else somebody is about to mend it."""
        self.supervisor = supervisor
        self.settings = settings
        self.data_dir = data_dir
        self.environment = environment
        self.gives_up = gives_up
        self.lives: dict[str, set[int]] = {}  # the process ids that each part has had so far

    def run(self) -> None:
        """Do all steps; raises OpsError at the first that fails."""
        self.wait_for("postgres", self.postgres_problem, SERVERS_SECONDS_MAX)
        self.wait_for("redis", self.redis_problem, SERVERS_SECONDS_MAX)
        self.do(MIGRATE, "the migration of the database failed")
        seeded = self.do(SEED, "the demo could not be set up") if self.settings.environment == "demo" else ""
        self.supervisor.start_application()
        self.wait_for("web", self.web_problem, READY_SECONDS_MAX)
        self.wait_for("live", self.live_problem, READY_SECONDS_MAX)
        if seeded.strip():
            say(f"\n{seeded.rstrip()}")
        self._say_where_to_go()

    def wait_for(self, name: str, problem: Callable[[], str | None], seconds_max: float) -> None:
        """Return when `problem` is None; raises OpsError after `seconds_max`, or when some part cannot live."""
        given = self._given_instead_of(name)
        seconds_max = GIVEN_SECONDS_MAX if given else seconds_max
        deadline = time.monotonic() + seconds_max
        while (what := problem()) is not None:
            self._see_who_dies()
            if time.monotonic() > deadline:
                look = f"is {given} right?" if given else f"see {self.data_dir.log(name)}"
                raise OpsError(f"{name} is not ready after {seconds_max:.0f} s ({what}): {look}")
            time.sleep(POLL_SECONDS)

    def _see_who_dies(self) -> None:
        """Raise OpsError for a part that was started again and again while we waited, or say so once."""
        for name, process_id in self.supervisor.process_ids().items():
            lives = self.lives.setdefault(name, set())
            if process_id in lives:
                continue
            lives.add(process_id)
            dies = f"{name} dies again and again: see {self.data_dir.log(name)}"
            if len(lives) > LIVES_MAX and self.gives_up:
                raise OpsError(dies)
            if len(lives) == LIVES_MAX + 1:
                say(f"{dies}. Once it is mended, it starts")

    def _given_instead_of(self, name: str) -> str | None:
        """The setting that names somebody else's server, if that is where it is; None for a part of our own."""
        ours = {program for process in self.supervisor.processes for program in process.programs}
        return None if name in ours else {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}[name]

    def postgres_problem(self) -> str | None:
        try:
            psycopg.connect(self.settings.psycopg_url, connect_timeout=PROBE_SECONDS_MAX).close()
        except psycopg.OperationalError as why:
            return " ".join(str(why).split())
        return None

    def redis_problem(self) -> str | None:
        url = self.settings.redis_url
        try:
            if self.settings.redis_is_cluster:
                ClusterClient(url, retry=Retry(NoBackoff(), 0), socket_timeout=PROBE_SECONDS_MAX).close()
                return None
            with redis.Redis.from_url(url, socket_timeout=PROBE_SECONDS_MAX, retry=None) as client:
                client.ping()
        except redis.RedisError as why:
            return str(why)
        return None

    def web_problem(self) -> str | None:
        return http_problem(f"{loopback_url(self.settings.host, self.settings.port)}/readyz")

    def live_problem(self) -> str | None:
        return http_problem(f"{loopback_url(self.settings.host, self.settings.live_port)}/readyz")

    def do(self, process: Process, failure: str) -> str:
        """Run a one-shot process to its end; what it prints is returned, what it complains of goes to its log."""
        log = self.data_dir.log(process.name)
        with log.open("ab") as complaints:
            try:
                done = subprocess.run(
                    [sys.executable, *process.command(1)],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    text=True,
                    env=self.environment,
                    timeout=JOB_SECONDS_MAX,
                    start_new_session=True,  # a Ctrl-C is ours to handle
                )
            except subprocess.TimeoutExpired as why:
                raise OpsError(f"{failure}: it took over {JOB_SECONDS_MAX} s; see {log}") from why
            except subprocess.CalledProcessError as why:
                raise OpsError(f"{failure}: see {log}") from why
        return done.stdout

    def _say_where_to_go(self) -> None:
        settings = self.settings
        flower = settings.flower_url or loopback_url(settings.host, settings.flower_port)
        user, _, password = settings.flower_basic_auth.partition(":")
        rows = {
            "Shop": f"{loopback_url(settings.host, settings.port)}/",
            "API": f"{loopback_url(settings.host, settings.port)}/api/docs",
            "Live": f"{loopback_url(settings.host, settings.live_port, scheme='ws')}/ws",
            "Flower": f"{flower}/  (user {user}, password {password})",
            "Logs": str(self.data_dir.logs),
            "Stop": "Ctrl-C; the data stays until `make reset`",
        }
        listed = "\n".join(f"  {name:<8}{value}" for name, value in rows.items())
        say(f"\nDoorbuster is open.\n\n{listed}")


def loopback_url(host: str, port: int, *, scheme: str = "http") -> str:
    """How to reach from this machine what listens on `host`, which may be "all addresses"."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def http_problem(url: str) -> str | None:
    """Why `url` does not answer 200 yet, or None when it does."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business with loopback
    try:
        with opener.open(url, timeout=PROBE_SECONDS_MAX) as answer:
            return None if answer.status == 200 else f"HTTP {answer.status}"  # noqa: PLR2004 - "OK"
    except urllib.error.HTTPError as why:
        why.close()
        return f"HTTP {why.code}"
    except OSError as why:
        return str(why)
