"""`python3 ops/install.py local|bench|dev`: the virtual environment with the pinned requirements, made or mended.

It runs on the system's bare Python, even on one that is too old to run anything else here: standard library only, and
no syntax younger than 3.6. What it has installed it remembers in `.venv`, so the next run takes no time.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
# What a set installs satisfies every set after it here.
REQUIREMENTS = {name: ROOT / "requirements" / f"{name}.txt" for name in ("dev", "bench", "local")}
PYTHON_MIN = (3, 11)
PYTHON_END = (3, 14)


def main(name: str) -> None:
    check_version(sys.version_info[:2])
    with (ROOT / "requirements.txt").open() as held:  # two makes at once install one after the other
        fcntl.flock(held, fcntl.LOCK_EX)
        reason = reason_to_rebuild()
        if reason:
            print(f"Making {VENV.name} anew: {reason}", flush=True)
            shutil.rmtree(str(VENV), ignore_errors=True)
        if not VENV_PYTHON.exists():
            make_venv()
        if not is_installed(name):
            install(name)


def check_version(version: "tuple[int, ...]") -> None:
    """Refuse an interpreter that the pinned requirements are not made for."""
    if not PYTHON_MIN <= tuple(version) < PYTHON_END:
        found = ".".join(str(part) for part in version)
        wanted = f"{PYTHON_MIN[0]}.{PYTHON_MIN[1]} to {PYTHON_END[0]}.{PYTHON_END[1] - 1}"
        fail(f"Python {found} will not do, it takes {wanted}: name another one, e.g. make PYTHON=python3.12 run")


def reason_to_rebuild() -> "str | None":
    """Why the virtual environment that is there cannot be used, or None."""
    if not VENV.exists() or VENV.is_symlink():
        return None
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [str(VENV_PYTHON), "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return "the Python that it was made with is gone"
    version = tuple(int(part) for part in answer.stdout.decode().split("."))
    if not PYTHON_MIN <= version < PYTHON_END:
        return "it was made with Python {}.{}".format(*version)
    if os.environ.get("PYTHON") and version != sys.version_info[:2]:
        return "it was made with Python {}.{}, and PYTHON names another".format(*version)
    if not shutil.which("uv") and not has_pip():
        return "there is no pip in it"
    return None


def make_venv() -> None:
    uv = shutil.which("uv")
    # uv installs from outside, so the environment needs no pip of its own, and Debian's python3-venv is not missed.
    made = run([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(VENV)])
    if made.returncode != 0:
        shutil.rmtree(str(VENV), ignore_errors=True)
        version = "{}.{}".format(*sys.version_info[:2])
        if b"ensurepip" in made.stdout:
            fail(f"this Python cannot make virtual environments yet: as root, apt install python{version}-venv")
        fail("cannot make .venv: {}".format(" ".join(made.stdout.decode(errors="replace").split())))


def install(name: str) -> None:
    requirements = REQUIREMENTS[name]
    print(f"Installing {requirements.relative_to(ROOT)} into {VENV.name} (once; up to a minute) ...", flush=True)
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(VENV_PYTHON)]
    else:
        command = [str(VENV_PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    done = run([*command, "--require-hashes", "--requirement", str(requirements)])
    if done.returncode != 0:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        fail(
            f"{requirements.relative_to(ROOT)} could not be installed, see above: is there a way to the package index?"
        )
    for satisfied in list(REQUIREMENTS)[list(REQUIREMENTS).index(name) :]:
        stamp(satisfied).write_text(digest(satisfied))


def has_pip() -> bool:
    """False for an environment that uv made, or whose making was cut short."""
    return any(VENV.glob("lib/python*/site-packages/pip"))


def is_installed(name: str) -> bool:
    return stamp(name).exists() and stamp(name).read_text() == digest(name)


def stamp(name: str) -> Path:
    """The file that says which requirements the environment holds."""
    return VENV / f".installed-{name}"


def digest(name: str) -> str:
    """Changes when the requirements do, and when the checkout moves (programs in .venv/bin know their place)."""
    place = str(VENV.resolve()).encode()
    return hashlib.sha256(REQUIREMENTS[name].read_bytes() + place).hexdigest()


def run(command: "list[str]") -> "subprocess.CompletedProcess[bytes]":
    """Run quietly; what it says is in `stdout`. uv must not fetch a Python of its own, nor pip install for the user."""
    environment = dict(os.environ, UV_PYTHON_DOWNLOADS="never", PIP_USER="0")
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=str(ROOT), check=False
    )


def fail(line: str) -> NoReturn:
    sys.exit("doorbuster: " + line)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says "interrupted"; the next run goes on from here
