"""The lines of all sales at this moment: how many requests wait in each, and for how long. For alarms and metrics.

PostgreSQL says which sales may have a line, over a connection of its own: a pool that is busy selling must not hide it.
Redis says what waits.
"""

from dataclasses import dataclass
from typing import Any

from models import rediskeys
from models.connections import short_question
from models.mailbox import parse_entry
from models.redisclient import redis_client
from models.shards import Shards, now_ms

CONNECT_SECONDS = 2
STATEMENT_MS = 1_000
# Looked at in one go; an installation with more sales at a time sees those that were made last.
SALES_MAX = 1_000

# The sales that sell, or that were changed so lately that their line may not be empty yet.
SALES = """
    SELECT id FROM flash_sales
    WHERE state = 'live' OR (state = 'scheduled' AND starts_at <= now()) OR updated_at > now() - interval '1 hour'
    ORDER BY id DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not empty. `oldest_wait_seconds` is 0 where the oldest entry is no request."""

    sale_id: int
    waiting: int
    oldest_wait_seconds: float


def read_lines() -> list[Line]:
    """The lines that are not empty, the one that waits longest first; of a cluster's lost shard none. Raises what
    psycopg or Redis raise."""
    shards = Shards()
    found = [line for lines in shards.ask(_sales(), rediskeys.mailbox, _lines_of) for line in lines]
    shards.raise_without_any()
    return sorted(found, key=lambda line: -line.oldest_wait_seconds)


def _lines_of(sale_ids: list[int], node: Any) -> list[Line]:
    pipeline = redis_client().pipeline(transaction=False)
    for sale_id in sale_ids:
        pipeline.xlen(rediskeys.mailbox(sale_id))
        pipeline.xrange(rediskeys.mailbox(sale_id), count=1)
    at_ms = now_ms(node)
    # An error in one place, where something else lies in a mailbox's stead, is not one of the others.
    answers = pipeline.execute(raise_on_error=False)
    found = []
    for sale_id, waiting, entries in zip(sale_ids, answers[::2], answers[1::2], strict=True):
        if isinstance(waiting, int) and waiting and isinstance(entries, list) and entries:
            found.append(Line(sale_id, waiting, _waited_seconds(entries[0], at_ms)))
    return found


def _sales() -> list[int]:
    with short_question(CONNECT_SECONDS, STATEMENT_MS) as connection:
        return [int(row[0]) for row in connection.execute(SALES, (SALES_MAX,))]


def _waited_seconds(entry: Any, at_ms: int) -> float:
    oldest = parse_entry(*entry)
    return 0.0 if oldest.malformed else max(0, at_ms - oldest.admitted_ms) / 1000
