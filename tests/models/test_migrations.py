"""Models and migrations describe the same database, to the last CHECK."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from models.database import engine
from models.readiness import check_database
from models.revisions import can_run_on, newest_revision
from models.settings import settings
from models.tables import metadata

ROOT = Path(__file__).parent.parent.parent

# Everything that a row, an index or a constraint can promise, in PostgreSQL's own words.
# A part of a table promises what the whole does; which parts there are is a matter of time.
CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default, is_generated, generation_expression,
               numeric_precision, numeric_scale, is_identity
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
          AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition)""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
          AND conrelid NOT IN (SELECT inhrelid FROM pg_inherits)""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'
          AND tablename NOT IN (SELECT relname FROM pg_class WHERE relispartition)""",
    "tables": """
        SELECT relname, relkind, pg_get_partkeydef(oid) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'alembic_version'
          AND oid NOT IN (SELECT inhrelid FROM pg_inherits)""",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
}


def catalogue(connection):
    return {name: {tuple(row) for row in connection.execute(text(query))} for name, query in CATALOGUE.items()}


@pytest.fixture
def from_models(servers):
    """The catalogue of a database made from the models alone."""
    # Engines of its own: making a database takes longer than a statement of the shop may.
    address = make_url(settings().database_url)
    here = create_engine(address, isolation_level="AUTOCOMMIT")
    other = create_engine(address.set(database="from_models"))
    with here.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS from_models"))
        connection.execute(text("CREATE DATABASE from_models"))
    metadata.create_all(other)
    with other.connect() as connection:
        yield catalogue(connection)
    other.dispose()
    with here.connect() as connection:
        connection.execute(text("DROP DATABASE from_models"))
    here.dispose()


@pytest.mark.parametrize("kind", CATALOGUE)
def test_the_migrated_database_is_the_one_that_the_models_describe(servers, from_models, kind):
    with engine().connect() as connection:
        migrated = catalogue(connection)

    assert migrated[kind] == from_models[kind]


def test_every_check_has_a_name_that_was_given_to_it(servers):
    with engine().connect() as connection:
        names = [row[1] for row in catalogue(connection)["constraints"]]

    unnamed = [name for name in names if not name.startswith(("ck_", "ex_", "fk_", "pk_", "uq_"))]
    assert all(name.endswith("_not_null") for name in unnamed), unnamed


def test_migrating_twice_and_at_once_is_migrating_once(servers):
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    environment = os.environ | {"DATABASE_URL": settings().psycopg_url}

    both = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) for _ in range(2)]

    for process in both:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors.decode()


@pytest.fixture
def later_tables(servers):
    """The tables as a later release than this one left them."""
    with engine().begin() as connection:
        head = connection.scalar(text("SELECT version_num FROM alembic_version"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9001'"))
    yield "9001"
    with engine().begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})


def run(*command):
    environment = os.environ | {"DATABASE_URL": settings().psycopg_url}
    return subprocess.run(
        [sys.executable, "-m", *command],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_release_goes_on_with_the_tables_of_a_later_one(later_tables):
    migrated = run("alembic", "upgrade", "head")

    assert (migrated.returncode, "left as they are" in migrated.stdout) == (0, True), migrated.stderr
    assert run("ops.health", "tables").returncode == 0
    assert check_database() == {"database": "up", "migrations": "up"}
    with engine().connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == later_tables


@pytest.mark.parametrize("command", [("upgrade", "0009"), ("downgrade", "0009"), ("check",), ("current",)])
def test_nothing_else_passes_over_tables_that_it_does_not_know(later_tables, command):
    done = run("alembic", *command)

    assert done.returncode != 0
    assert later_tables in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("revision", "can"),
    [
        (None, False),
        ("0001", False),
        (newest_revision(), True),
        ("9001", True),
        ("somebody else's", False),
        ("zzzz", False),
        ("99999", False),
    ],
)
def test_a_release_runs_on_its_own_tables_and_on_later_ones(revision, can):
    assert can_run_on(revision) is can


def test_a_container_waits_for_the_tables_that_it_needs(servers):
    with engine().begin() as connection:
        head = connection.scalar(text("SELECT version_num FROM alembic_version"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        waits = run("ops.health", "tables")
    finally:
        with engine().begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})

    assert (waits.returncode, waits.stderr.strip()) == (1, "database up, migrations behind")
    assert run("ops.health", "tables").returncode == 0
