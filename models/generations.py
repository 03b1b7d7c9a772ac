"""Telling Redis again whose tokens are refused: it may have been away, emptied, or restored from an older copy.

PostgreSQL is the truth (`users.token_generation`, `tokens_refused_at`). In Redis stands beside the generations how far
they were told. It was written after them, so a copy that has it has them too, and what is told anew is what may be
missing: on a good day the refusals of the last minute, after a loss all that a living token could be refused by.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import structlog
from sqlalchemy import select, tuple_

from models import rediskeys
from models.database import database_now, transaction
from models.redisclient import redis_client
from models.revocations import tell_generation
from models.settings import settings
from models.shards import Shards
from models.user import User

log = structlog.get_logger()

# A refusal is dated under the user's lock and seen after its commit: in between lies less than this, by the timeouts.
COMMITTED_WITHIN = timedelta(minutes=1)
TOLD_AT_ONCE = 1_000
# User, generation, and when.
Refused = tuple[int, int, datetime]


def tell_again() -> int:
    """Tell Redis whose tokens are refused, as far as it may not know; returns how many accounts these were.

    The accounts of a cluster's lost shard are passed over. Until it is back, how far was told stays as it was, and the
    others are told the same again. Raises what PostgreSQL and Redis raise when they are away.
    """
    with transaction() as session:
        moment = database_now(session)
    # Later refusals are told too, and once more next time: some that are dated before them may not be committed.
    certain = moment - COMMITTED_WITHIN
    # A token that was good before this is over by itself.
    oldest = moment - timedelta(days=settings().refresh_token_days, minutes=1)
    shards = Shards()
    place = (max(oldest, _told_until(shards) or oldest), 0)
    count = 0
    while refused := _refused_after(*place):
        count += sum(shards.ask(refused, lambda each: rediskeys.generation(each[0]), _tell))
        place = (refused[-1][2], refused[-1][0])
        _remember(min(place[0], certain), shards)
    _remember(certain, shards)
    for shard, lost in shards.lost.items():
        log.warning("generations.shard_lost", shard=shard, error=type(lost.error).__name__)
    shards.raise_without_any()
    return count


def _tell(refused: list[Refused], _node: Any) -> int:
    pipeline = redis_client().pipeline(transaction=False)
    for user_id, generation, _ in refused:
        tell_generation(user_id, generation, through=pipeline)
    return len(pipeline.execute())


def _refused_after(moment: datetime, user_id: int) -> list[Refused]:
    """The next accounts whose tokens were refused, the earliest first."""
    at = (User.tokens_refused_at, User.id)
    query = select(User.id, User.token_generation, User.tokens_refused_at)
    # Said twice, for the index knows nothing of pairs that begin with NULL.
    query = query.where(User.tokens_refused_at.is_not(None), tuple_(*at) > (moment, user_id))
    with transaction() as session:
        rows = session.execute(query.order_by(*at).limit(TOLD_AT_ONCE)).all()
    return [(row.id, row.token_generation, row.tokens_refused_at) for row in rows]


def _told_until(shards: Shards) -> datetime | None:
    """None where nobody can say, and everything is told: also where the shard that could say so is lost."""
    kept = cast(list[str | None], _ask_of_the_mark(shards, lambda: redis_client().get(rediskeys.GENERATIONS_TOLD)))
    try:
        return datetime.fromisoformat(kept[0]).astimezone(UTC) if kept and kept[0] else None
    except ValueError:
        log.warning("generations.unreadable", kept=kept[0])
        return None


def _remember(moment: datetime, shards: Shards) -> None:
    if not shards.lost:
        _ask_of_the_mark(shards, lambda: redis_client().set(rediskeys.GENERATIONS_TOLD, moment.isoformat()))


def _ask_of_the_mark(shards: Shards, question: Callable[[], object]) -> list[object]:
    return shards.ask([rediskeys.GENERATIONS_TOLD], str, lambda *_: question())
