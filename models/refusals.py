"""Refusals before the line, by their code: counted by the gate in Redis, and kept in PostgreSQL for the report.

The gate counts in memory alone (models/gate.lua), so a count can begin anew: after a crash, or two days after its sale.
Each count carries the moment that it began; what is kept is the highest number seen of each, and their sum is the
sale's. Keeping may run twice, late, or out of order.
"""

import re
from functools import cache
from typing import cast

from redis.commands.core import Script
from sqlalchemy import CheckConstraint, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from models import rediskeys
from models.database import Base, transaction
from models.redisclient import read_count, redis_client

SINCE = "since"
CODE = re.compile(r"[A-Z_]{1,40}")


class SaleRefusal(Base):
    """How often a sale's gate said one code, in the count that began at `since_ms`."""

    __tablename__ = "sale_refusals"
    __table_args__ = (CheckConstraint("count >= 1", name="count_is_positive"),)

    # No foreign key: nothing here may ever fail a sale, or wait for its row.
    sale_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    since_ms: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]


def count_in_redis(sale_id: int) -> dict[str, int]:
    """Refusals of a sale by code, as far as Redis remembers. Raises redis errors where it is away."""
    return parse_counts(cast(dict[str, str], redis_client().hgetall(rediskeys.counts(sale_id))))


# A count that Redis has forgotten begins with the gate's next refusal, which says when. Where somebody else left
# something in its place, a number is lost, as it is for the gate.
COUNT_MORE = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.pcall('HINCRBY', KEYS[1], ARGV[1], ARGV[2]) end"


@cache
def _count_more() -> Script:
    return redis_client().register_script(COUNT_MORE)


def count_more(sale_id: int, code: str, times: int) -> None:
    """Count refusals that were said without asking the gate (web/crowd.py). Raises redis errors."""
    _count_more()(keys=[rediskeys.counts(sale_id)], args=[code, times])


def parse_counts(fields: dict[str, str]) -> dict[str, int]:
    counts = {code: read_count(count) for code, count in fields.items() if CODE.fullmatch(code)}
    return {code: count for code, count in counts.items() if count}


def keep_refusals(sale_id: int) -> None:
    """Copy a sale's running count to PostgreSQL. Raises what Redis or PostgreSQL raise when they are away."""
    fields = cast(dict[str, str], redis_client().hgetall(rediskeys.counts(sale_id)))
    counts = parse_counts(fields)
    since_ms = read_count(fields.get(SINCE))
    if not counts or since_ms is None:
        return
    rows = [
        {"sale_id": sale_id, "since_ms": since_ms, "code": code, "count": count}
        for code, count in sorted(counts.items())
    ]
    new = insert(SaleRefusal)
    higher = func.greatest(SaleRefusal.count, new.excluded.count)
    with transaction() as session:
        session.execute(
            new.on_conflict_do_update(index_elements=SaleRefusal.__table__.primary_key, set_={"count": higher}), rows
        )


def refusals_of(sale_id: int) -> dict[str, int]:
    """Refusals of a sale by code, the most frequent first: all that were kept."""
    total = func.sum(SaleRefusal.count)
    query = select(SaleRefusal.code, total).where(SaleRefusal.sale_id == sale_id).group_by(SaleRefusal.code)
    with transaction() as session:
        rows = session.execute(query.order_by(total.desc(), SaleRefusal.code)).all()
    return {code: int(count) for code, count in rows}
