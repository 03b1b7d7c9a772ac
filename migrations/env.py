"""Alembic's entry: migrate the database that the settings name, with the models as the aim."""

from alembic import context
from sqlalchemy import create_engine

from models.settings import settings
from models.tables import metadata

# A migration waits this long for a lock and no longer: a busy shop must not queue up behind it.
LOCK_TIMEOUT_MS = 5_000


def run() -> None:
    engine = create_engine(
        settings().database_url,
        connect_args={"connect_timeout": 10, "options": f"-c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC"},
    )
    with engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=metadata, compare_type=True, compare_server_default=True
        )
        with context.begin_transaction():
            # One migration at a time, however many containers start at once.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4242)")
            context.run_migrations()
    engine.dispose()


run()
