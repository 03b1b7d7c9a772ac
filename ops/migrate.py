"""`make migrate`: bring a database up to date: the one at DATABASE_URL, else the running stack's."""

import os
import sys

from ops.checks import load_settings
from ops.errors import OpsError
from ops.processes import MIGRATE
from ops.stack import adopt_running_stack


def main() -> None:
    if not load_settings().database_url:
        adopt_running_stack()
    os.execv(sys.executable, [sys.executable, *MIGRATE.command(1)])  # noqa: S606 - the words come from our own table


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
