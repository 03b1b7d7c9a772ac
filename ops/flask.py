"""`make flask CMD='doctor'`: one of the shop's own commands, with the settings of the running stack.

Or with those of the environment, where it names a database.
"""

import os
import sys

from ops.checks import load_settings
from ops.errors import OpsError
from ops.stack import adopt_running_stack


def main() -> None:
    if not load_settings().database_url:
        adopt_running_stack()
    os.execv(sys.executable, [sys.executable, "-m", "flask", "--app", "wsgi", *sys.argv[1:]])  # noqa: S606 - the operator's words


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
