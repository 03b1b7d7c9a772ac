"""What every process that serves requests knows by heart: the rules for addresses, and who was overruled.

One row holds a version that each change renews in its own transaction. Whoever keeps a copy asks for that row often
and for the rest only when the version is another, so that a change takes effect everywhere within a second and costs
nothing while there is none.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import CheckConstraint, Engine, func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.connections import new_engine
from models.database import Base
from models.ip_ranges import Action, Ranges, Rule
from models.settings import settings

VERSION = text("SELECT version FROM standing_version")
RULES = text("SELECT network, action, expires_at FROM ip_rules")
# Each subject that an admin let pass a signal.
PASSES = text("SELECT DISTINCT signal, subject FROM fraud_records WHERE overruled_at IS NOT NULL")


class StandingVersion(Base):
    """The one row that changes whenever the rules or the overruled subjects do."""

    __tablename__ = "standing_version"
    __table_args__ = (CheckConstraint("id = 1", name="there_is_one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # Random rather than counted up: a database restored from the past never comes back to a number it had before.
    version: Mapped[UUID]


@dataclass(frozen=True, slots=True)
class Standing:
    """A copy of the standing rules; `passes` are the pairs (signal, subject) that velocity leaves alone."""

    version: UUID | None
    ranges: Ranges
    passes: frozenset[tuple[str, str]]


NOTHING = Standing(None, Ranges(), frozenset())


def note_change(session: Session) -> None:
    """Renew the version in the transaction of a change, and hold off other changes until it ends."""
    renewed = insert(StandingVersion).values(id=1, version=func.gen_random_uuid())
    session.execute(renewed.on_conflict_do_update(index_elements=["id"], set_={"version": renewed.excluded.version}))


def read_standing(connection: Connection, known: Standing) -> Standing:
    """The standing rules as they are now: `known` itself where nothing has changed.

    The version is read before what it stands for: a change in between is seen as another version next time.
    """
    version = connection.execute(VERSION).scalar()
    if version == known.version:
        return known
    rules = [Rule(network, Action(action), until) for network, action, until in connection.execute(RULES)]
    passes = frozenset((signal, subject) for signal, subject in connection.execute(PASSES))
    return Standing(version, Ranges(rules), passes)


def new_standing_engine() -> Engine:
    """An engine of one connection for whoever keeps a copy: a pool that the requests use up must not delay it."""
    known = settings()
    return new_engine(
        known.psycopg_url,
        connect_seconds=known.database_connect_seconds,
        bounds={"statement_timeout": known.database_statement_ms, "timezone": "UTC"},
        pool_size=1,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
    )
