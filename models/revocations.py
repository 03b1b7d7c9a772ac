"""Tokens that were given back before their time: kept in Redis by `jti` until they would have expired anyway."""

import math
from datetime import datetime

from models import rediskeys
from models.redisclient import redis_client


def revoke(jti: str, expires_at: datetime) -> bool:
    """Refuse this token from now on; False if it was refused already.

    The first to revoke wins, so a refresh token buys one new pair however many ask with it at once. Raises redis
    errors where Redis is away.
    """
    key = rediskeys.revoked(jti)
    return bool(redis_client().set(key, "1", nx=True, exat=math.ceil(expires_at.timestamp())))


def is_revoked(jti: str) -> bool:
    """Whether this token was given back. Raises redis errors where Redis is away."""
    return bool(redis_client().exists(rediskeys.revoked(jti)))
