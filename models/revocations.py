"""Tokens that were given back before their time: one of them by its `jti`, or all of a user's by their generation.

PostgreSQL knows each user's generation (`users.token_generation`); Redis is told it when it changes, for as long as a
token of an earlier one could live. No clock is asked: a token that was signed on a machine whose clock is ahead is
refused as well.
"""

import math
from datetime import datetime
from functools import cache
from typing import cast

from redis.commands.core import Script

from models import rediskeys
from models.redisclient import redis_client
from models.settings import settings

SECONDS_PER_DAY = 86_400


def revoke(jti: str, expires_at: datetime) -> bool:
    """Refuse this token from now on; False if it was refused already.

    The first to revoke wins, so a refresh token buys one new pair however many ask with it at once. Raises redis
    errors where Redis is away.
    """
    key = rediskeys.revoked(jti)
    return bool(redis_client().set(key, "1", nx=True, exat=math.ceil(expires_at.timestamp())))


def tell_generation(user_id: int, generation: int) -> None:
    """Refuse every token of this user from an earlier generation, on every process, from now on.

    Comes after the commit that raised `users.token_generation`; may run twice, late or never: whoever raises it sees to
    it that it is told again (a chore reads `users.tokens_refused_at`). Raises redis errors where Redis is away.
    """
    seconds = settings().refresh_token_days * SECONDS_PER_DAY
    _raise_to()(keys=[rediskeys.generation(user_id)], args=[generation, seconds])


@cache
def _raise_to() -> Script:
    # Two that are told in the wrong order leave the higher one.
    return redis_client().register_script(
        "if tonumber(redis.call('GET', KEYS[1]) or -1) <= tonumber(ARGV[1]) then "
        "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end"
    )


def is_revoked(jti: str, user_id: int, generation: int) -> bool:
    """Whether this token was given back, alone or with all of its user's. Raises redis errors where Redis is away."""
    known = redis_client().mget(rediskeys.revoked(jti), rediskeys.generation(user_id))
    revoked, good_from = cast(list[str | None], known)
    return revoked is not None or generation < int(good_from or 0)
