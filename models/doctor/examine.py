"""All examinations, one after the other: the servers first, for the rest asks them."""

from collections.abc import Callable, Iterator

import psycopg
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from models.doctor import capacity, clocks, machine, postgres_server, redis_server, sales, secrets, work
from models.doctor.finding import Finding, Severity

# Whether PostgreSQL is needed to look, whether Redis is, and the look.
Look = tuple[bool, bool, Callable[[], Iterator[Finding]]]
POSTGRES_AWAY, REDIS_AWAY = "POSTGRES_AWAY", "REDIS_AWAY"

LOOKS: tuple[Look, ...] = (
    (False, False, secrets.look),
    (False, False, machine.look),
    (True, False, postgres_server.look),
    (False, True, redis_server.look),
    (False, False, work.look_at_broker),
    (True, True, clocks.look),
    (False, True, work.look),
    (True, True, sales.look),
)


def examine(*, sale_id: int | None = None, crowd: int | None = None) -> list[Finding]:
    """Everything that is wrong, the worst first; empty for a healthy stack.

    With `crowd` (buyers expected in the first seconds) also whether it fits, for the sale of this id if one is given.
    """
    postgres_away, redis_away = postgres_server.away(), redis_server.away()
    found = [finding for finding in (postgres_away, redis_away) if finding is not None]
    looks = list(LOOKS)
    if crowd is not None:
        looks.append((True, True, lambda: capacity.look(sale_id, crowd)))
    for needs_postgres, needs_redis, look in looks:
        if (needs_postgres and postgres_away) or (needs_redis and redis_away):
            continue
        try:
            found += look()
        except (SQLAlchemyError, psycopg.Error) as error:
            found.append(postgres_server.went_away(error))
        except RedisError as error:
            found.append(redis_server.went_away(error))
    return sorted(dict.fromkeys(found), key=lambda finding: finding.severity is not Severity.CRITICAL)
