"""Bytes that are hardly HTTP: lengths that lie, transfer codings that two readers would read differently, requests
inside of bodies, heads without an end."""

import io
import socket
from dataclasses import dataclass

from hypothesis import strategies as st

from ops.ports import LOOPBACK
from tests.hostile.house import House
from tests.hostile.oracle import Answer, Noted, judge
from tests.hostile.wire import receive

# How long a server may think about bytes that may be the beginning of a request.
WAIT_SECONDS = 0.2
# More answers than this to one handful of bytes, and somebody asks through somebody else's request.
ANSWERS_MAX = 3
HEARD_BYTES_MAX = 1_000_000
INNER = b"GET /api/users/me/purchases HTTP/1.1\r\nHost: x\r\n\r\n"
START = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

# Each is refused, or is one request and no more, whoever stands in between. `%` is where a made-up text goes.
SMUGGLED = {
    "two lengths": START + b"Content-Length: 2\r\nContent-Length: %d\r\n\r\n{}" % (2 + len(INNER)) + INNER,
    "a list of lengths": START + b"Content-Length: 2, %d\r\n\r\n{}" % (2 + len(INNER)) + INNER,
    "a length with a sign": START + b"Content-Length: +2\r\n\r\n{}" + INNER,
    "a length in hex": START + b"Content-Length: 0x2\r\n\r\n{}" + INNER,
    "a length below nothing": START + b"Content-Length: -2\r\n\r\n{}" + INNER,
    "a length beyond numbers": START + b"Content-Length: 99999999999999999999999\r\n\r\n{}" + INNER,
    "a name that ends in a space": START + b"Content-Length : 2\r\n\r\n{}" + INNER,
    "a folded header": START + b"Content-Length:\r\n 2\r\n\r\n{}" + INNER,
    "a coding that is none": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
    "a coding after another": START + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
    "a coding behind a tab": START + b"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n" + INNER,
    "a chunk that lies": START + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk below nothing": START + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk without an end": START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n" + INNER,
}
pieces = st.sampled_from(
    [
        *(b"GET ", b"POST ", b"/", b"/api/flash-sales", b"*", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b" HTTP/0.9"),
        *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: x", b"Host:", b": ", b"\x00", b"\xff\xfe", b"%", b"\t "),
        *(b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: keep-alive"),
        *(
            b"Upgrade: h2c",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
        *(b"A" * 9_000, b"A: b\r\n" * 200, b"http://evil.example/", b"//", b"[::1", INNER),
    ]
)


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is sent to one port, in parts; the last shape may end in the middle of anything."""

    port: int
    parts: list[bytes]


def bytes_at(house: House) -> st.SearchStrategy[Bytes]:
    """Bytes to this house: known shapes, cut and mixed ones, and any at all."""
    known = st.sampled_from(sorted(SMUGGLED)).map(lambda name: [SMUGGLED[name]])
    mixed = st.lists(pieces | st.binary(max_size=20), min_size=1, max_size=12)
    cut = st.tuples(st.sampled_from(sorted(SMUGGLED)), st.integers(1, 150)).map(
        lambda each: [SMUGGLED[each[0]][: each[1]], SMUGGLED[each[0]][each[1] + 1 :]]
    )
    return st.builds(Bytes, st.sampled_from(house.ports), known | mixed | mixed | cut)


def make_noise(house: House, case: Bytes, noted: Noted) -> None:
    """Send the parts, hang up, and judge whatever came back."""
    try:
        answers = answers_to(case)
    except OSError as why:
        noted.count("raw bytes", "hung up")
        noted.complain("raw bytes", case, [repr(why)] if isinstance(why, ConnectionRefusedError) else [])
        return
    noted.count("raw bytes", str(answers[0].status) if answers else "hung up")
    for answer in answers:
        noted.complain("raw bytes", case, judge("GET", "", answer))
    if len(answers) > ANSWERS_MAX:
        noted.complain("raw bytes", case, [f"{len(answers)} answers"])


class Heard(io.BytesIO):
    """What came, as http.client reads it: it closes what it has read, and more answers may follow."""

    def makefile(self, _mode: str) -> "Heard":
        return self

    def close(self) -> None:
        pass


def answers_to(case: Bytes, seconds: float = WAIT_SECONDS) -> list[Answer]:
    """All answers to these bytes, until the server hangs up or says no more for so many seconds."""
    heard = Heard(_hear(case, seconds))
    answers = []
    while heard.tell() < len(heard.getbuffer()):
        answer = receive(heard)
        if answer is None:
            break
        answers.append(answer)
    return answers


def _hear(case: Bytes, seconds: float) -> bytes:
    heard = b""
    with socket.create_connection((LOOPBACK, case.port), timeout=30) as connection:
        try:
            for part in case.parts:
                connection.sendall(part)
            connection.settimeout(seconds)
            while len(heard) < HEARD_BYTES_MAX and (more := connection.recv(65_536)):
                heard += more
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
    return heard
