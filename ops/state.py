"""What `make run` keeps in DATA_DIR between two runs: where everything lies, the secrets it made, the lock."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ops.errors import OpsError
from ops.ports import free_port
from ops.postgres import EmbeddedPostgres
from ops.valkey import EmbeddedValkey


@dataclass(frozen=True)
class DataDir:
    """The layout of DATA_DIR."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Self:
        return cls(path.expanduser().absolute())

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def redis(self) -> Path:
        return self.path / "redis"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets.json"

    @property
    def stack(self) -> Path:
        """What the running stack was started with; see ops.stack."""
        return self.path / "stack.json"

    @property
    def supervisor_configuration(self) -> Path:
        return self.path / "supervisord.conf"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def create(self) -> None:
        """Make the directory and its logs. Others may pass through it, for PostgreSQL may run as another account."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o711)
            self.logs.mkdir(exist_ok=True)
            self.logs.chmod(0o700)
        except OSError as why:
            raise OpsError(
                f"cannot write to {self.path} ({why.strerror}): choose another place, e.g. DATA_DIR=$HOME/doorbuster"
            ) from why

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this directory alone until the block ends or this process does; raises OpsError if somebody has it."""
        with self._lock_file() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as why:
                raise OpsError(
                    f"a stack runs already in {self.path}: stop it first (Ctrl-C), "
                    "or start a second one with its own DATA_DIR and ports"
                ) from why
            yield

    def is_locked(self) -> bool:
        """Whether a stack runs in this directory now."""
        if not self.lock.exists():
            return False
        with self._lock_file() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def _lock_file(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as why:
            raise OpsError(
                f"cannot open {self.lock} ({why.strerror}): another user's DATA_DIR? choose your own"
            ) from why
        try:
            yield descriptor
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Secrets:
    """What the first `make run` made up and every later one needs again. The ports keep the URLs as they were."""

    jwt_secret_key: str
    flower_password: str
    postgres_password: str
    postgres_port: int
    redis_password: str
    redis_port: int

    @classmethod
    def load(cls, data_dir: DataDir) -> Self:
        """The secrets of this directory; raises OpsError if there are none or they cannot be read."""
        try:
            return cls(**json.loads(data_dir.secrets.read_text()))
        except (OSError, TypeError, ValueError) as why:
            raise OpsError(f"cannot read {data_dir.secrets}: `make reset` starts afresh, without the data") from why

    @classmethod
    def load_or_make(cls, data_dir: DataDir) -> Self:
        """The secrets of this directory, made up if it is new, with two ports that are free now."""
        known = asdict(cls.load(data_dir)) if data_dir.secrets.exists() else {}
        postgres_port = free_port(preferred=known.get("postgres_port"))
        made = cls(
            jwt_secret_key=known.get("jwt_secret_key") or secrets.token_urlsafe(48),
            flower_password=known.get("flower_password") or secrets.token_urlsafe(12),
            postgres_password=known.get("postgres_password") or secrets.token_urlsafe(18),
            postgres_port=postgres_port,
            redis_password=known.get("redis_password") or secrets.token_urlsafe(18),
            redis_port=free_port(preferred=known.get("redis_port"), taken={postgres_port}),
        )
        write_private(data_dir.secrets, json.dumps(asdict(made), indent=2) + "\n")
        return made

    def postgres(self, data_dir: DataDir) -> EmbeddedPostgres:
        """This stack's embedded PostgreSQL, running or not."""
        return EmbeddedPostgres(data_dir.postgres, port=self.postgres_port, password=self.postgres_password)

    def redis(self, data_dir: DataDir) -> EmbeddedValkey:
        """This stack's embedded Redis, running or not."""
        return EmbeddedValkey(data_dir.redis, port=self.redis_port, password=self.redis_password)


def write_private(file: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(text)
        written.flush()
        os.fsync(written.fileno())
    draft.replace(file)
