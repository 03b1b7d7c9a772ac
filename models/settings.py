"""The one home of settings, and the only reader of the environment.

Every field is read from the environment variable of its own name in capitals, or from `.env` in the working
directory; the environment wins. `.env.example` lists them all and a test holds the two lists together.
"""

import re
from functools import cache, lru_cache
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.production import problems
from models.redisurl import is_cluster, parse_cluster

Network = IPv4Network | IPv6Network
Words = Annotated[tuple[str, ...], NoDecode]

JWT_KEY_BYTES_MIN = 32
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")


class NetworkSet(tuple[Network, ...]):
    """Ranges of addresses, kept as one: what is asked of them for every request is remembered by which set it is."""

    __slots__ = ()

    def __hash__(self) -> int:
        # A tuple would ask each of its networks, which are slow to tell.
        return id(self)


Networks = Annotated[tuple[Network, ...], NoDecode, AfterValidator(NetworkSet)]


class SettingsError(Exception):
    """The settings do not fit together; the text says which and what to do, in one line and without a secret."""


class Settings(BaseSettings):
    """All settings; units are the last word of a name."""

    # What was given is never repeated: it may be a secret, and an error is read by many.
    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # What this installation is: `make run` sets demo; production refuses unsafe settings at start.
    environment: Literal["demo", "development", "production"] = "development"

    # Where things stand.
    database_url: str = Field(default="", description="postgresql://user:password@host:port/name")
    database_pooled: bool = Field(default=False, description="a pooler such as PgBouncer lends its connections")
    database_replica_url: str = Field(default="", description="of a standby, for reads that may be a moment old")
    database_replica_lag_ms: int = Field(default=1_000, ge=100, le=60_000, description="how old these may be")
    redis_url: str = Field(default="", description="redis://:password@host:port/0")
    broker_url: str = Field(
        default="", description="redis://… or amqp://user:password@host:5672/vhost; REDIS_URL unless given"
    )
    data_dir: Path = Field(default=Path(".data"), description="where `make run` keeps servers' data, logs and secrets")

    # What listens, and how many of it.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    live_port: int = Field(default=8001, ge=1, le=65535)
    flower_port: int = Field(default=5555, ge=1, le=65535)
    web_workers: int = Field(default=2, ge=1, le=64)
    web_threads: int = Field(default=16, ge=2, le=256, description="threads of one web process for what Flask answers")
    live_workers: int = Field(default=2, ge=1, le=64)
    settle_workers: int = Field(default=1, ge=1, le=64)
    live_url: str = Field(default="", description="public ws(s):// address of /ws")
    flower_url: str = Field(default="", description="where operators find Flower; from FLOWER_PORT if empty")
    flower_basic_auth: str = Field(default="", description="user:password of Flower")

    # Accounts.
    jwt_secret_key: str = Field(default="", description="at least 32 bytes; signs the tokens")
    jwt_previous_keys: Words = Field(default=(), description="keys that signed before, and whose tokens are still good")
    access_token_minutes: int = Field(default=15, ge=1, le=1440)
    refresh_token_days: int = Field(default=30, ge=1, le=365)
    allow_admin_signup: bool = False
    cookie_secure: bool | None = Field(default=None, description="on in production and over https")

    # Who may call, and how often ("count/period", joined by ";", as flask-limiter reads it).
    rate_limit_default: str = "600/minute"
    rate_limit_address: str = "60000/minute"
    rate_limit_purchase: str = "120/minute"
    rate_limit_login: str = "10/minute"
    rate_limit_login_address: str = "5/minute"
    rate_limit_signup: str = "20/minute"
    rate_limit_exempt: Networks = Field(default=NetworkSet(), description="ranges free of limits and velocity rules")
    trusted_proxies: Networks = Field(default=NetworkSet(), description="ranges whose X-Forwarded-* is believed")
    cors_origins: Words = Field(default=(), description="origins that may call the API from a browser")

    # Velocity: what is odd enough to be noted, and what is too odd to be let in. 0 is never.
    velocity_accounts_window_seconds: int = Field(default=600, ge=1, le=86_400)
    velocity_accounts_flag: int = Field(default=20, ge=0, le=10_000, description="accounts behind one address")
    velocity_accounts_refuse: int = Field(default=0, ge=0, le=10_000)
    velocity_sales_window_seconds: int = Field(default=3_600, ge=1, le=86_400)
    velocity_sales_flag: int = Field(default=20, ge=0, le=10_000, description="sales attempted by one account")
    velocity_sales_refuse: int = Field(default=100, ge=0, le=10_000)
    velocity_group_window_seconds: int = Field(default=86_400, ge=1, le=604_800)
    velocity_group_buyers_max: int = Field(default=2, ge=0, le=9_999, description="buyers of a sale with one groupKey")
    fraud_record_days: int = Field(default=90, ge=1, le=3_650, description="how long a fraud record is kept")
    request_bytes_max: int = Field(default=64 * 1024, ge=1024)

    # The line.
    line_max: int = Field(default=200_000, ge=1, description="requests that may wait in one sale's line")
    settle_batch_max: int = Field(default=1_000, ge=1, le=10_000, description="requests settled in one transaction")
    settle_stall_ms: int = Field(default=3_000, ge=100, description="how long a worker may stall with a sale in hand")
    settle_batches_per_turn: int = Field(default=16, ge=1, description="transactions before a hot sale queues up again")
    sale_stock_default: int = Field(default=200, ge=1)
    hold_seconds_default: int = Field(default=600, ge=1, le=86_400)
    idempotency_hours: int = Field(default=24, ge=1, le=168)
    events_kept_max: int = Field(default=1_000, ge=10, description="events of one sale kept for who returns")
    wait_seconds_max: int = Field(default=30, ge=1, le=60)

    # Bounds on every call.
    database_pool_size: int = Field(default=10, ge=1, le=100)
    database_connect_seconds: int = Field(default=3, ge=1)
    database_statement_ms: int = Field(default=5_000, ge=100)
    database_lock_ms: int = Field(default=3_000, ge=100)
    database_idle_in_transaction_ms: int = Field(default=5_000, ge=100)
    redis_timeout_seconds: float = Field(default=1.0, ge=0.1)
    redis_wait_replicas: int = Field(default=0, ge=0, le=5, description="that have a request before it is accepted")
    redis_wait_ms: int = Field(default=200, ge=1, description="how long they are waited for")

    # Logs.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_json: bool | None = Field(default=None, description="JSON lines; on in production unless said otherwise")

    # Metrics.
    metrics_token: str = Field(default="", description="who shows it may read /metrics; without one, this machine")
    metrics_dir: Path | None = Field(default=None, description="where the processes of one machine count together")
    metrics_port: int = Field(default=0, ge=0, le=65535, description="of a Celery worker's own /metrics; 0 is none")

    # Traces.
    otel_exporter_otlp_endpoint: str = Field(default="", description="http(s)://host:4318 of a collector; empty: off")
    traces_share: float = Field(default=0.01, ge=0, le=1, description="of the requests for units that are traced")
    traces_per_second_max: int = Field(default=20, ge=1, le=1_000, description="that one process begins to trace")

    @field_validator("rate_limit_exempt", "trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip())
        return value

    @field_validator("cors_origins", "jwt_previous_keys", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _read_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """`https://shop.example.org`, as a browser writes it (RFC 6454, section 6.2); never everybody."""
        if wrong := [origin for origin in value if not ORIGIN.fullmatch(origin)]:
            raise ValueError(f"{wrong[0]!r} is no origin such as https://shop.example.org")
        return value

    @field_validator("database_url")
    @classmethod
    def _name_the_driver(cls, value: str) -> str:
        """Accept the short forms that hosts hand out, and say psycopg 3 out loud for SQLAlchemy."""
        for prefix in ("postgres://", "postgresql://"):
            if value.startswith(prefix):
                return "postgresql+psycopg://" + value.removeprefix(prefix)
        return value

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _have_what_sends_traces(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("is no http:// or https:// address of a collector")
        if value and not _is_installed("opentelemetry", "sdk", "exporter"):
            raise ValueError("needs what requirements/traces.txt installs")
        return value

    @field_validator("database_replica_url")
    @classmethod
    def _leave_the_driver_out(cls, value: str) -> str:
        return _for_libpq(value)

    @field_validator("redis_url")
    @classmethod
    def _read_cluster(cls, value: str) -> str:
        if is_cluster(value):
            parse_cluster(value)
        return value

    @field_validator("broker_url")
    @classmethod
    def _refuse_broker_on_cluster(cls, value: str) -> str:
        if is_cluster(value):
            raise ValueError("Celery's broker cannot live on a Redis Cluster: name a single Redis, or a RabbitMQ")
        return value

    @model_validator(mode="after")
    def _bound_the_wait(self) -> Self:
        if self.redis_wait_replicas and self.redis_wait_ms >= self.redis_timeout_seconds * 1000:
            raise ValueError("REDIS_WAIT_MS must be less than REDIS_TIMEOUT_SECONDS: the answer comes behind it")
        return self

    @model_validator(mode="after")
    def _ask_for_broker(self) -> Self:
        if self.redis_is_cluster and not self.broker_url:
            raise ValueError("BROKER_URL must be set beside a cluster in REDIS_URL: a single Redis, or a RabbitMQ")
        return self

    @model_validator(mode="after")
    def _refuse_unsafe_production(self) -> Self:
        if self.environment == "production" and (wrong := list(problems(self))):
            raise ValueError("; ".join(dict.fromkeys(wrong)))
        if self.jwt_secret_key and len(self.jwt_secret_key.encode()) < JWT_KEY_BYTES_MIN:
            raise ValueError(f"JWT_SECRET_KEY must have at least {JWT_KEY_BYTES_MIN} bytes")
        if any(len(key.encode()) < JWT_KEY_BYTES_MIN for key in self.jwt_previous_keys):
            raise ValueError(f"Every one of JWT_PREVIOUS_KEYS must have at least {JWT_KEY_BYTES_MIN} bytes")
        return self

    @property
    def redis_is_cluster(self) -> bool:
        return is_cluster(self.redis_url)

    @property
    def celery_broker_url(self) -> str:
        return self.broker_url or self.redis_url

    @property
    def broker_is_rabbitmq(self) -> bool:
        return self.celery_broker_url.startswith(("amqp://", "amqps://", "pyamqp://"))

    @property
    def cookies_are_secure(self) -> bool:
        return self.environment == "production" if self.cookie_secure is None else self.cookie_secure

    @property
    def logs_are_json(self) -> bool:
        return self.environment == "production" if self.log_json is None else self.log_json

    @property
    def psycopg_url(self) -> str:
        """`database_url` as libpq reads it, without SQLAlchemy's driver name."""
        return _for_libpq(self.database_url)

    def is_exempt(self, address: str) -> bool:
        """Whether rate limits and velocity rules leave this client address alone."""
        return _inside(address, self.rate_limit_exempt)

    def is_trusted_proxy(self, address: str) -> bool:
        return _inside(address, self.trusted_proxies)


def _is_installed(package: str, *parts: str) -> bool:
    """Whether all of these parts of a package are there; nothing of them is loaded to find out."""
    try:
        return all(find_spec(f"{package}.{part}") for part in parts)
    except ModuleNotFoundError:
        return False


def _for_libpq(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


# Asked twice or more on every request, about the few proxies and the customers of the moment.
@lru_cache(maxsize=8192)
def _inside(address: str, networks: tuple[Network, ...]) -> bool:
    if not networks:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


@cache
def settings() -> Settings:
    """The settings of this process, read once. Raises SettingsError, whose text is one line for whoever starts it."""
    try:
        return Settings()
    except ValidationError as why:
        raise SettingsError("; ".join(settings_problems(why))) from None


def settings_problems(why: ValidationError) -> list[str]:
    """Each wrong setting by its name in the environment. The value is left out: it may be a secret."""
    found = []
    for error in why.errors(include_url=False, include_input=False):
        text = error["msg"].removeprefix("Value error, ")
        where = "_".join(str(part) for part in error["loc"]).upper()
        found.append(f"{where}: {text} (in the environment or .env)" if where else text)
    return found
