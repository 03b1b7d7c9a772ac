"""Logs: one line an event, for web and worker alike. A constant name, then fields; JSON where machines read.

Use it as `log = structlog.get_logger()` and `log.info("sale.opened", sale=7)`. What `name_lines` was told (request id,
task id) stands on every line of that request or task. Libraries that log with the standard library end up in the same
stream, in the same shape.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from models.settings import settings

# A field whose name holds one of these is a secret, whoever logs it.
SECRET_WORDS = ("password", "token", "secret", "authorization", "cookie", "jwt")
REDACTED = "[redacted]"

# Libraries that say at INFO what our own access line says better, or say it with addresses in it.
QUIET = ("werkzeug", "flask-limiter", "alembic", "kombu", "urllib3")

NOTHING: Mapping[str, Any] = MappingProxyType({})
_names: ContextVar[Mapping[str, Any]] = ContextVar("names of this request or task", default=NOTHING)


def name_lines(**fields: Any) -> None:
    """Have these fields, and no others from before, stand on every line from here on: of this thread, or greenlet."""
    _names.set(fields)


def name_more(**fields: Any) -> None:
    """Have these fields stand on the lines too, beside those that `name_lines` was told."""
    _names.set({**_names.get(), **fields})


def is_logged(level: int) -> bool:
    """Whether a line of this level is written at all: asked where putting it together has its price."""
    return logging.getLogger().isEnabledFor(level)


def add_names(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: what `name_lines` was told stands on the line too."""
    for name, value in _names.get().items():
        event.setdefault(name, value)
    return event


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank out every field that is named like a secret, also inside a mapping."""
    for name, value in event.items():
        if name != "event" and any(word in name.lower() for word in SECRET_WORDS):
            event[name] = REDACTED
        elif isinstance(value, dict):
            event[name] = redact(_logger, _method, dict(value))
    return event


def _to_json(event: EventDict, **_: Any) -> str:
    """orjson where it can, and the text of a value where it cannot: a log line must never fail its request."""
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure_logging() -> None:
    """Set logging up for this process from the settings; calling it again changes nothing but the level and form."""
    known = settings()
    shared: list[Processor] = [
        add_names,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    if not structlog.is_configured():
        # Once: loggers keep the processors that they first met.
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                *shared,
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=True,
        )
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if known.logs_are_json:
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    else:
        # Plain tracebacks: the pretty ones show local variables, and a password may be one.
        last.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    # Standard error: what a command prints, such as the OpenAPI document, stays clean.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(known.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
