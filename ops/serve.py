"""`python -m ops.serve postgres|redis`: prepare this stack's embedded server, then become it.

Run by the supervisor, at the start and after every death of the server, so that each start first clears away what the
death left behind.
"""

import os
import sys

from ops.checks import load_settings
from ops.errors import OpsError
from ops.launch import follow_parent, raise_open_files
from ops.state import DataDir, Secrets


def main() -> None:
    parent = os.getppid()
    data_dir = DataDir.at(load_settings().data_dir)
    secrets = Secrets.load(data_dir)
    server = {"postgres": secrets.postgres, "redis": secrets.redis}[sys.argv[1]](data_dir)
    server.prepare()
    argv, environment, account = server.argv, server.environment, server.account
    os.chdir(server.data)
    raise_open_files()
    if account is not None:
        account.become()
    follow_parent(server.stop_signal, parent)
    os.execve(argv[0], argv, environment)  # noqa: S606 - the words come from our own code


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(str(why))
