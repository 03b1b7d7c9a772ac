"""PgBouncer in transaction mode: nothing that is said to a connection outlives its transaction, or has to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from models import database
from models.audit import audit_sale
from models.doctor import postgres_server
from models.readiness import check_database
from models.settings import settings
from tests.cluster.pointed import pointed_at
from tests.cluster.pooler import pooler, require_pooler
from tests.pipeline.conftest import Rush, assert_exact, drained, eventually, processes  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[2]
UNITS = 200
BUYERS = 600
DRAIN_SECONDS = 120
MIGRATE_SECONDS = 120


@pytest.fixture(scope="module")
def behind(servers) -> Iterator[str]:
    """The address of an empty database of the server's own, without any pooler."""
    require_pooler()
    here = create_engine(make_url(settings().database_url), isolation_level="AUTOCOMMIT")
    with here.connect() as connection:
        connection.execute(text("CREATE DATABASE behind_a_pooler"))
    yield servers.postgres.url.rpartition("/")[0] + "/behind_a_pooler"
    with here.connect() as connection:
        connection.execute(text("DROP DATABASE behind_a_pooler WITH (FORCE)"))
    here.dispose()


@pytest.fixture(scope="module")
def migrated(behind) -> Iterator[str]:
    """A pooler that refuses whoever sends it startup parameters, and a database that was migrated through it."""
    with pooler(behind) as url:
        environment = os.environ | {"DATABASE_URL": url, "DATABASE_POOLED": "true"}
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=MIGRATE_SECONDS
        )
        assert done.returncode == 0, done.stderr
        yield url


@pytest.fixture
def pooled(store, migrated) -> Iterator[str]:
    """This process and its children behind the pooler."""
    with pointed_at(DATABASE_URL=migrated, DATABASE_POOLED="true"):
        yield migrated


def test_a_rush_is_settled_exactly_through_a_pooler(pooled, processes, make_sale):  # noqa: F811
    sale = make_sale(total_stock=UNITS)
    names = ("worker-1", "worker-2")
    for name in names:
        processes.start("worker", name)
    processes.wait_ready(*names)

    rush = Rush([sale.id], BUYERS).start().wait()

    eventually(lambda: drained(sale.id), "the line drains", DRAIN_SECONDS)
    assert len(rush.accepted) >= UNITS
    assert_exact(rush, sale.id, UNITS)
    assert audit_sale(sale.id).agrees
    assert check_database() == {"database": "up", "migrations": "up"}


def test_every_transaction_has_its_bounds_and_leaves_none_behind(pooled):
    known = settings()
    wanted = {
        "statement_timeout": known.database_statement_ms,
        "lock_timeout": known.database_lock_ms,
        "idle_in_transaction_session_timeout": known.database_idle_in_transaction_ms,
    }

    with database.transaction() as session:
        ours = {name: int(value) for name, value in session.execute(postgres_server.BOUNDS)}
    with psycopg.connect(pooled, autocommit=True) as next_one:
        theirs = {name: int(value) for name, value in next_one.execute(postgres_server.BOUNDS.text).fetchall()}

    assert ours == wanted
    assert set(theirs.values()) == {0}, "whoever is lent the connection next has none of ours"
    assert "POSTGRES_BOUNDS_DROPPED" not in {finding.code for finding in postgres_server.look()}


def test_a_snapshot_is_one_moment_and_the_next_transaction_may_write(pooled):
    with database.snapshot() as session:
        said = session.execute(text("SHOW transaction_isolation")).scalar_one()
        read_only = session.execute(text("SHOW transaction_read_only")).scalar_one()
    with database.transaction() as session:
        after = session.execute(text("SHOW transaction_read_only")).scalar_one()

    assert (said, read_only, after) == ("repeatable read", "on", "off")


def ask_often(engine: Engine) -> None:
    """Two connections that ask the same questions in turn, often enough for psycopg to prepare them."""
    with engine.connect() as one, engine.connect() as other:
        for _ in range(10):
            for connection in (one, other):
                connection.execute(text("SELECT 1"))
                connection.commit()


def test_what_one_client_prepared_is_in_nobodys_way(pooled):
    ask_often(database.engine())


def test_without_the_setting_a_strict_pooler_lets_nobody_in(store, migrated):
    """The control: our bounds travel as a startup parameter, which it does not know."""
    with (
        pointed_at(DATABASE_URL=migrated, DATABASE_POOLED="false"),
        pytest.raises(OperationalError, match="unsupported startup parameter"),
    ):
        ask_often(database.engine())


def test_without_the_setting_a_lenient_pooler_drops_our_bounds_and_mixes_up_what_was_prepared(store, behind, migrated):
    """The control: and the doctor sees it."""
    with pooler(behind, ignored="options") as url, pointed_at(DATABASE_URL=url, DATABASE_POOLED="false"):
        assert "POSTGRES_BOUNDS_DROPPED" in {finding.code for finding in postgres_server.look()}
        with pytest.raises((ProgrammingError, OperationalError), match="prepared statement"):
            ask_often(database.engine())
