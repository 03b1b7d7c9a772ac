"""`make reset`: throw away everything that `make run` keeps in DATA_DIR."""

import shutil
import sys
from pathlib import Path

from ops.accounts import remove_home
from ops.checks import load_settings
from ops.errors import OpsError
from ops.state import DataDir


def reset(data_dir: DataDir) -> None:
    """Remove what `make run` wrote, and the directory itself if nothing else is in it; raises OpsError if it runs."""
    if not data_dir.path.exists():
        return
    with data_dir.locked():
        try:
            remove_home(data_dir.postgres)
            for folder in (data_dir.redis, data_dir.logs):
                shutil.rmtree(folder, ignore_errors=True)
            for file in (data_dir.secrets, data_dir.stack, data_dir.supervisor_configuration):
                file.unlink(missing_ok=True)
            for name in ("supervisord.pid", "supervisor.sock"):
                (data_dir.path / name).unlink(missing_ok=True)
        except OSError as why:
            raise OpsError(f"cannot remove {why.filename} ({why.strerror}): run `make reset` as its owner") from why
        data_dir.lock.unlink(missing_ok=True)
    if not any(data_dir.path.iterdir()):
        data_dir.path.rmdir()


def main() -> None:
    data_dir = DataDir.at(load_settings().data_dir)
    reset(data_dir)
    print(f"{shown(data_dir.path)} is empty: the next `make run` starts afresh")


def shown(path: Path) -> str:
    """A path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
