"""The rig's own network: what each fault of a line does to those who speak over it, and that it is over when mended."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Line, Lines

ANSWER_SECONDS = 10


@pytest.fixture
def line() -> Iterator[Line]:
    """A line to a server that says everything back."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_echo_for_ever, args=(server,), daemon=True).start()
    lines = Lines()
    yield lines.to(server.getsockname()[1])
    lines.close()
    server.close()


def _echo_for_ever(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(1024):
                connection.sendall(data)
        except OSError:
            return


def dial(line: Line) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), timeout=ANSWER_SECONDS)


def says_back(connection: socket.socket, word: bytes) -> bool:
    try:
        connection.sendall(word)
        return connection.recv(1024) == word
    except OSError:
        return False


def test_a_whole_line_passes_everything_on(line):
    with dial(line) as connection:
        assert says_back(connection, b"hello")
        assert len(line.ports_out) == 1


def test_a_line_that_is_cut_ends_what_is_said_and_lets_others_speak(line):
    with dial(line) as connection:
        assert says_back(connection, b"hello")

        line.cut()

        assert not says_back(connection, b"still there?")
    with dial(line) as again:
        assert says_back(again, b"hello again")


def test_a_line_that_refuses_lets_nobody_speak_until_it_is_mended(line):
    line.refuse()

    with dial(line) as connection:
        assert not says_back(connection, b"hello")
    line.mend()
    with dial(line) as connection:
        assert says_back(connection, b"hello")


def test_a_black_hole_swallows_and_delivers_when_it_is_mended(line):
    with dial(line) as connection:
        assert says_back(connection, b"hello")
        line.hold()
        connection.settimeout(0.5)

        assert not says_back(connection, b"anybody?")

        line.mend()
        connection.settimeout(ANSWER_SECONDS)
        assert connection.recv(1024) == b"anybody?"


def test_a_slow_line_takes_its_time(line):
    with dial(line) as connection:
        line.delay(0.3)
        started = time.monotonic()

        assert says_back(connection, b"hello")

        assert time.monotonic() - started >= 0.6
