"""Closing a server's door without slamming it: newcomers are not heard any more, whoever is in the doorway still is.

The kernel takes connections before the server does. Those that it has taken when the server closes its listening
socket are reset, with requests in them that nobody read: on a busy machine that is somebody at every stop. So before it
closes, the socket is told to be deaf to new connections, by a filter in the kernel that any process may set on a socket
of its own (Linux; elsewhere nothing is done). Whoever knocks knocks again a second later, as TCP does by itself, and
finds another process, or nobody.
"""

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SO_ATTACH_FILTER = 26
FLAGS_AT = 13  # of a TCP header
SYN, ACK = 0x02, 0x10
EVERYTHING, NOTHING = 0xFFFF_FFFF, 0
# Classic BPF, one instruction a line: code, how far to jump if true and if false, operand.
DEAF_TO_NEWCOMERS = b"".join(
    struct.pack("=HBBI", *line)
    for line in (
        (0x30, 0, 0, FLAGS_AT),  # load the byte at
        (0x54, 0, 0, SYN | ACK),  # and with
        (0x15, 0, 1, SYN),  # is it equal? Only who begins sends SYN alone
        (0x06, 0, 0, NOTHING),  # let through so many bytes
        (0x06, 0, 0, EVERYTHING),
    )
)
LINE_BYTES = 8


def let_nobody_new_in() -> None:
    """Make the listening sockets that are this process's own deaf to new connections; never raises."""
    if sys.platform != "linux":
        return
    lines = ctypes.create_string_buffer(DEAF_TO_NEWCOMERS, len(DEAF_TO_NEWCOMERS))
    program = struct.pack("@HP", len(DEAF_TO_NEWCOMERS) // LINE_BYTES, ctypes.addressof(lines))
    for door in _doors():
        with door, suppress(OSError):
            door.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _doors() -> Iterator[socket.socket]:
    """The listening TCP sockets that this process has, each by a descriptor of its own, but for those that its parent
    still has as well: the door stays open, and only one of those who stand at it leaves."""
    others = _sockets_of(os.getppid())
    for number, name in _sockets_of(os.getpid()).items():
        if name in others.values():
            continue
        with suppress(OSError):
            door = socket.socket(fileno=os.dup(number))
            if door.type == socket.SOCK_STREAM and door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield door
            else:
                door.close()


def _sockets_of(process: int) -> dict[int, str]:
    """The sockets of a process: the system's name of each, by descriptor."""
    found = {}
    with suppress(OSError):
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                name = entry.readlink().name
                if name.startswith("socket:"):
                    found[int(entry.name)] = name
    return found
