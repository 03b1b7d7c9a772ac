"""Tokens that were given back before their time: one of them by its `jti`, or all of a user's by their generation.

PostgreSQL knows each user's generation (`users.token_generation`); Redis is told it when it changes, for as long as a
token of an earlier one could live. No clock is asked: a token that was signed on a machine whose clock is ahead is
refused as well. What Redis forgot it is told again (models/generations.py).
"""

import math
import secrets
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Protocol, TypeVar, cast

from redis.client import Pipeline
from redis.commands.core import Script

from models import rediskeys
from models.redisclient import read_many, redis_client
from models.settings import settings
from models.tokens import LEEWAY_SECONDS

SECONDS_PER_DAY = 86_400
# A refresh token that was used comes again within this long when a click was double or an answer was lost on its way.
# Later it is in two hands (RFC 9700, section 4.14.2; docs/decisions/0015-blocked-users-and-stolen-refresh-tokens.md).
RETRY_SECONDS = 10
NONCE_BYTES = 12
# Two that are told in the wrong order leave the higher one.
RAISE_TO = """
    if tonumber(redis.call('GET', KEYS[1]) or -1) <= tonumber(ARGV[1]) then
      redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
    end
"""
# Tokens that are asked about in one trip.
ASKED_AT_ONCE = 500


class Token(Protocol):
    """What of a token is needed to know whether it was given back."""

    @property
    def user_id(self) -> int: ...
    @property
    def jti(self) -> str: ...
    @property
    def generation(self) -> int: ...


T = TypeVar("T", bound=Token)


class Spent(StrEnum):
    """What became of a refresh token that somebody wanted to use."""

    NOW = "now"
    # Used a moment ago: a double click, or a retry.
    AGAIN = "again"
    # Used long ago: somebody else has a copy, or whoever asks is that somebody.
    STOLEN = "stolen"
    # Given back by logging out.
    REVOKED = "revoked"


def revoke(user_id: int, jti: str, expires_at: datetime) -> bool:
    """Refuse this token from now on; False if it was refused already. Raises redis errors where Redis is away."""
    return bool(redis_client().set(rediskeys.revoked(user_id, jti), "1", nx=True, exat=_last_second(expires_at)))


def spend(user_id: int, jti: str, expires_at: datetime) -> Spent:
    """Use up a refresh token: of all who ask with it, at once or one after another, one is told NOW.

    Raises redis errors where Redis is away: then it may have been used up.
    """
    # The client asks once more where Redis's answer is lost: by the nonce it is the same use.
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    arguments: list[str | int] = [_last_second(expires_at), RETRY_SECONDS * 1_000, nonce]
    return Spent(cast(str, _spend()(keys=[rediskeys.revoked(user_id, jti)], args=arguments)))


@cache
def _spend() -> Script:
    # Redis's clock dates both uses: those of two web processes need not agree.
    return redis_client().register_script("""
        local time = redis.call('TIME')
        local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
        local known = redis.call('GET', KEYS[1])
        if not known then
          redis.call('SET', KEYS[1], string.format('used:%.0f:%s', now_ms, ARGV[3]), 'EXAT', ARGV[1])
          return 'now'
        end
        local used_ms, nonce = string.match(known, '^used:(%d+):(.*)$')
        if not used_ms then return 'revoked' end
        if nonce == ARGV[3] then return 'now' end
        return now_ms - tonumber(used_ms) <= tonumber(ARGV[2]) and 'again' or 'stolen'
    """)


def _last_second(expires_at: datetime) -> int:
    """As long as another machine's clock may still take the token for good."""
    return math.ceil(expires_at.timestamp()) + LEEWAY_SECONDS


def tell_generation(user_id: int, generation: int, *, through: Pipeline | None = None) -> None:
    """Refuse every token of this user from an earlier generation, on every process, from now on.

    Comes after the commit that raised `users.token_generation`; may run twice, late or never: models/generations.py
    tells it again. With `through` it is only put into that pipeline. Raises redis errors where Redis is away.
    """
    seconds = settings().refresh_token_days * SECONDS_PER_DAY + LEEWAY_SECONDS
    # As a text and not by its hash: that is how it can go through the pipeline of a cluster.
    command = ("EVAL", RAISE_TO, 1, rediskeys.generation(user_id), generation, seconds)
    (through or redis_client()).execute_command(*command)  # type: ignore[no-untyped-call]


def is_revoked(jti: str, user_id: int, generation: int) -> bool:
    """Whether this token was given back, alone or with all of its user's. Raises redis errors where Redis is away."""
    known = redis_client().mget(rediskeys.revoked(user_id, jti), rediskeys.generation(user_id))
    revoked, good_from = cast(list[str | None], known)
    return revoked is not None or generation < int(good_from or 0)


def revoked_among(tokens: Sequence[T]) -> list[T]:
    """Those of these tokens that were given back, in a trip to each shard for each ASKED_AT_ONCE. Raises redis errors
    where Redis is away."""
    found: list[T] = []
    for start in range(0, len(tokens), ASKED_AT_ONCE):
        some = tokens[start : start + ASKED_AT_ONCE]
        keys = [rediskeys.revoked(each.user_id, each.jti) for each in some]
        keys += [rediskeys.generation(each.user_id) for each in some]
        known = read_many(keys)
        pairs = zip(some, known[: len(some)], known[len(some) :], strict=True)
        found += [each for each, revoked, good_from in pairs if revoked or each.generation < int(good_from or 0)]
    return found
