"""Changing a table that sells meanwhile: indexes are made and dropped beside its writers, not in front of them.

What is in an autocommit block is committed at once, so a migration that fails later runs through it again: every step
here may be repeated.
"""

from collections.abc import Sequence
from typing import Any

from alembic import op


def create_index(name: str, table: str, columns: Sequence[Any], **options: Any) -> None:
    """Make an index without a lock that a writer of the table waits for. What was half made before is made anew."""
    drop_index(name, table)
    with op.get_context().autocommit_block():
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)


def drop_index(name: str, table: str) -> None:
    """Drop an index, if it is there, without a lock that a writer of the table waits for."""
    with op.get_context().autocommit_block():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)


def lock_first(*tables: str) -> None:
    """Lock tables as strongly as the rest of a migration needs them, before it has any weaker lock of theirs.

    Whoever asks for more of what it has already, waits for workers who wait for it: a deadlock.
    """
    op.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
