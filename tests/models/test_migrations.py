"""Models and migrations describe the same database, to the last CHECK."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from models.database import engine
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
