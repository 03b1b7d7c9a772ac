"""Which release the tables of a database are of, by the revision that Alembic keeps there.

Ours are numbers of four digits, one behind the other (migrations/versions): a greater one is a later release's. A
migration never takes away what the release before it needs, so a release runs on later tables than its own, and does
not migrate them: that is how one goes back (docs/runbook.md, "Upgrading, and going back").
"""

import re
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
OURS = re.compile(r"[0-9]{4}", re.ASCII)


@cache
def newest_revision() -> str:
    """That of this release's tables."""
    return str(ScriptDirectory.from_config(Config(toml_file=str(PYPROJECT))).get_current_head())


def is_later(revision: str) -> bool:
    """Whether these are the tables of a later release than this one."""
    return bool(OURS.fullmatch(revision)) and revision > newest_revision()


def can_run_on(revision: str | None) -> bool:
    """Whether this release runs on such tables: its own, or a later one's. None: nobody ever migrated them."""
    return revision is not None and (revision == newest_revision() or is_later(revision))
