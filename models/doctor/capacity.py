"""Whether a crowd fits: into the line, into Redis's memory, through the door, and onto the sockets.

What one process can do was measured by `make bench` (models/doctor/measured.py): to plan with, and no promise.
"""

import math
from collections.abc import Iterator
from typing import Any, cast

from models.database import transaction
from models.doctor.finding import Finding, critical, warning
from models.doctor.measured import answers_per_web_process, sockets_per_live_process
from models.redisclient import REDIS_AWAY, redis_servers
from models.sale import FlashSale
from models.settings import settings

# How long the last of the crowd may have to wait for a first answer.
DOOR_SECONDS_MAX = 60
# A request in the line with its Idempotency-Key, in Redis; measured by tests/doctor.
BYTES_PER_REQUEST = 600
# Who looks at a sale's page has a socket open; who has bought closes it.
SOCKET_SHARE = 1.0


def look(sale_id: int | None, crowd: int) -> Iterator[Finding]:
    """What would be too small for `crowd` buyers who come within seconds, each once."""
    known = settings()
    if sale_id is not None:
        with transaction() as session:
            sale = session.get(FlashSale, sale_id)
        if sale is None or sale.archived_at is not None:
            yield critical("SALE_UNKNOWN", f"there is no sale {sale_id}", "name another with --sale")
            return
    if crowd > known.line_max:
        what = f"a crowd of {crowd:,} is more than a line holds ({known.line_max:,}): the rest is asked to come again"
        yield warning("LINE_SHORT", what, f"LINE_MAX={crowd * 2}")
    yield from _memory(crowd)
    answers = answers_per_web_process()
    rate = known.web_workers * answers.value
    if crowd > rate * DOOR_SECONDS_MAX:
        what = (
            f"{known.web_workers} web processes answer about {rate:,.0f} a second ({answers.origin}): {crowd:,} take "
            f"{crowd / rate:.0f} s"
        )
        processes = math.ceil(crowd / DOOR_SECONDS_MAX / answers.value)
        yield warning("DOOR_NARROW", what, f"WEB_WORKERS={processes}, on as many cores, or as many machines")
    held = sockets_per_live_process()
    sockets = known.live_workers * held.value
    if crowd * SOCKET_SHARE > sockets:
        what = (
            f"{known.live_workers} live processes hold about {sockets:,.0f} sockets ({held.origin}): the rest of "
            f"{crowd:,} buyers polls"
        )
        processes = math.ceil(crowd * SOCKET_SHARE / held.value)
        yield warning("SOCKETS_FEW", what, f"LIVE_WORKERS={processes}, on as many cores")


def _memory(crowd: int) -> Iterator[Finding]:
    """One sale is on one shard of a cluster, and may be on any."""
    needed = min(crowd, settings().line_max) * BYTES_PER_REQUEST
    for name, server in redis_servers().items():
        try:
            about = cast(dict[str, Any], server.info("memory"))
        except REDIS_AWAY:
            continue  # said by the look at the servers
        memory_max = int(about.get("maxmemory", 0)) or int(about.get("total_system_memory", 0))
        free = memory_max - int(about["used_memory"])
        if memory_max and needed > free:
            what = f"a line of {crowd:,} takes about {needed >> 20} MiB, and {name} has {max(0, free) >> 20} left"
            yield critical("REDIS_MEMORY_SHORT", what, "raise maxmemory, or lower LINE_MAX to what fits")
