"""`python -m ops.launch SIGNAL ARGUMENT…`: become `python ARGUMENT…`, as a process that never outlives its supervisor.

Three things happen before the exec: what a `kill -9` left of this very program is ended (a web server's workers go on
listening when their parent is killed), the kernel is asked for SIGNAL when the supervisor dies, and the limit of open
files is raised to what the system allows, for every waiting buyer is one.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

import psutil

STACK_MARK = "DOORBUSTER_STACK"  # in the environment of every process of a stack: its DATA_DIR
PROGRAM_MARK = "SUPERVISOR_PROCESS_NAME"  # set by supervisord
OPEN_FILES_WANTED = 65_536
END_SECONDS_MAX = 5
PR_SET_PDEATHSIG = 1


def main() -> None:
    stop_signal = signal.Signals[sys.argv[1]]
    parent = os.getppid()
    end_stack_processes(os.environ.get(STACK_MARK, ""), program=os.environ.get(PROGRAM_MARK, ""))
    raise_open_files()
    follow_parent(stop_signal, parent)
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])  # noqa: S606 - the words come from our own table


def end_stack_processes(stack: str, *, program: str | None = None, ask_seconds: float = 0) -> None:
    """End other processes of the stack (of one program of it): SIGTERM and so many seconds if asked for, then SIGKILL.

    Found by their environment, since a process whose parent was killed says nothing else about where it came from.
    """
    if not stack:
        return
    found = stack_processes(stack, program=program)
    if ask_seconds:
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, found = psutil.wait_procs(found, timeout=ask_seconds)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=END_SECONDS_MAX)


def stack_processes(stack: str, *, program: str | None = None) -> list[psutil.Process]:
    """The processes, without ourselves, that carry the mark of this stack (and of this program, if given).

    The supervisor itself is the program "". PostgreSQL and Redis overwrite their environment with their titles, so
    they may be missing here: EmbeddedServer.evict finds those.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
        except (psutil.Error, OSError):
            continue  # gone, or somebody else's
        if environment.get(STACK_MARK) == stack and program in (None, environment.get(PROGRAM_MARK, "")):
            found.append(process)
    return found


def follow_parent(stop_signal: signal.Signals, parent: int) -> None:
    """Have this process sent `stop_signal` when `parent` dies, however it dies. Linux only; elsewhere it does nothing.

    Survives exec, but not a change of account: change that first.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor died while this was being started")


def raise_open_files() -> None:
    """Raise the soft limit of open files towards the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems promise more than they give
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
