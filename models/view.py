"""The gate's view as others read it: what everybody was told of a sale, without a connection to PostgreSQL."""

from typing import cast

import structlog
from redis.exceptions import RedisError

from models import rediskeys
from models.redisclient import redis_client
from models.sale_queries import snapshots_of
from models.sale_rules import SaleNotFoundError
from models.snapshot import SaleSnapshot

log = structlog.get_logger()


def view_of(sale_id: int) -> SaleSnapshot | None:
    """A sale as it was told last; None where Redis does not know it, holds something else there, or is away."""
    try:
        fields = cast(dict[str, str], redis_client().hgetall(rediskeys.view(sale_id)))
        return SaleSnapshot.from_view(sale_id, fields) if fields else None
    except (RedisError, LookupError, ValueError) as error:
        log.warning("view.unread", sale=sale_id, error=type(error).__name__)
        return None


def sale_as_told(sale_id: int, revision: int) -> SaleSnapshot:
    """A sale that is at least at this revision: from the gate's view, or else from its row.

    The view is renewed and the news are published in one step (models/announce.lua): whoever listens to the news, and
    then reads it, misses nothing. A view may be older than what was told before: after Redis was restored from an older
    copy. Raises SaleNotFoundError, also for an archived one, and what PostgreSQL raises where it is asked and away.
    """
    sale = view_of(sale_id)
    if sale is None or sale.revision < revision:
        sale = next(iter(snapshots_of([sale_id])), None)
    if sale is None or sale.archived:
        raise SaleNotFoundError
    return sale
