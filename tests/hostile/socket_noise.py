"""WebSockets by hand: frames of any shape, size and order, of which most break RFC 6455 somewhere."""

import base64
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from ops.ports import LOOPBACK
from tests.hostile.house import House
from tests.hostile.http_noise import values
from tests.hostile.oracle import INTERNALS, SERVERS_OWN, Noted

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
# How long a server may think about a frame before it is no more to be waited for: most deserve no answer.
WAIT_SECONDS = 0.1
EVENTS = ["authenticate", "joinFlashSale", "leaveFlashSale", "stockUpdate", "", "x" * 5_000]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame (RFC 6455, section 5.2). `length` is what its head says where that is a lie."""

    opcode: int
    payload: bytes
    final: bool = True
    masked: bool = True
    reserved: int = 0
    length: int | None = None

    def wire(self) -> bytes:
        length = len(self.payload) if self.length is None else self.length
        head = bytes([self.final << 7 | self.reserved << 4 | self.opcode])
        mask_bit = self.masked << 7
        if length < 126:
            head += bytes([mask_bit | length])
        elif length < 2**16:
            head += bytes([mask_bit | 126]) + struct.pack(">H", length)
        else:
            head += bytes([mask_bit | 127]) + struct.pack(">Q", length)
        if not self.masked:
            return head + self.payload
        mask = b"\x01\x02\x03\x04"
        return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.payload))


@dataclass(frozen=True, slots=True)
class Talk:
    """One connection: how its handshake goes, and the frames after it; then it hangs up, or just falls silent."""

    path: str
    headers: list[tuple[str, str]]
    frames: list[Frame]


def said(name: object, data: object) -> Frame:
    """A frame as our clients send it."""
    return Frame(TEXT, json.dumps({"event": name, "data": data}).encode())


def talks_at(house: House) -> st.SearchStrategy[Talk]:
    """Conversations with this house."""
    token = st.sampled_from(house.tokens[1:])
    sale = st.just(house.sale_id) | st.just(str(house.sale_id)) | values
    events = st.one_of(
        st.builds(said, st.just("joinFlashSale"), st.builds(lambda sale: {"flashSaleId": sale}, sale)),
        st.builds(
            said,
            st.just("joinFlashSale"),
            st.builds(lambda since: {"flashSaleId": house.sale_id, "since": since}, st.integers(0, 9) | values),
        ),
        st.builds(said, st.just("authenticate"), st.builds(lambda token: {"token": token}, token | values)),
        st.builds(said, st.sampled_from(EVENTS) | values, values),
        values.map(lambda value: Frame(TEXT, json.dumps(value).encode("utf-8", "surrogatepass"))),
    )
    payloads = st.binary(max_size=130) | st.sampled_from(
        [b"[" * 4_000, b"x" * 4_096, b"x" * 5_000, b"\xff" * 9, b"\xed\xa0\x80"]
    )
    wild = st.builds(
        Frame,
        st.integers(0, 15),
        payloads,
        final=st.booleans(),
        masked=st.sampled_from([True, True, True, False]),
        reserved=st.sampled_from([0, 0, 0, 4, 7]),
        length=st.none() | st.none() | st.sampled_from([0, 125, 126, 2**16, 2**31, 2**63 - 1, 2**64 - 1]),
    )
    parts = st.builds(Frame, st.sampled_from([TEXT, BINARY, CONTINUATION, CONTINUATION]), payloads, final=st.booleans())
    control = st.builds(
        Frame, st.sampled_from([CLOSE, PING, PONG]), payloads, final=st.sampled_from([True, True, False])
    )
    headers = st.lists(
        st.sampled_from(
            [
                ("Authorization", "Bearer x"),
                ("Authorization", "Bearer " + house.tokens[1]),
                ("Sec-WebSocket-Version", "8"),
                ("Sec-WebSocket-Key", "short"),
                ("Sec-WebSocket-Protocol", "a, b"),
                ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits=99"),
                ("Sec-WebSocket-Extensions", "permessage-deflate"),
                ("Upgrade", "h2c"),
                ("Origin", "https://evil.example"),
            ]
        ),
        max_size=2,
    )
    path = st.sampled_from(["/ws", "/ws", "/", "/ws?ticket=x", "/ws?ticket=%ff%00", "/ws?ticket=" + "x" * 65])
    return st.builds(Talk, path, headers, st.lists(events | events | wild | parts | control, max_size=8))


def connect(port: int, path: str = "/ws", headers: list[tuple[str, str]] | None = None) -> tuple[socket.socket, bytes]:
    """A connection after its handshake, and what was answered to it."""
    connection = socket.create_connection((LOOPBACK, port), timeout=30)
    connection.sendall(_handshake(port, path, headers or []))
    return connection, connection.recv(65_536)


def _handshake(port: int, path: str, headers: list[tuple[str, str]]) -> bytes:
    given = {name for name, _ in headers}
    usual = [
        ("Host", f"{LOOPBACK}:{port}"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", base64.b64encode(os.urandom(16)).decode()),
    ]
    lines = [
        f"{name}: {value}" for name, value in [*(each for each in usual if each[0] not in given), *(headers or [])]
    ]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def connect_deaf(port: int) -> socket.socket:
    """A connection that will not read, with as little room for what it is told as the system allows."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    connection.settimeout(30)
    connection.connect((LOOPBACK, port))
    connection.sendall(_handshake(port, "/ws", []))
    # Whoever does not even read the answer to the handshake: wait until the other side had time to give it.
    time.sleep(1)
    return connection


def make_noise(house: House, case: Talk, noted: Noted) -> None:
    """Hold the conversation, and judge what was said back."""
    try:
        connection, first = connect(house.shop.live_port, case.path, case.headers)
    except OSError as why:
        noted.count("socket", "hung up")
        noted.complain("socket", case, [repr(why)])
        return
    with connection:
        status = int(first[9:12]) if first[9:12].isdigit() else 0
        noted.count("socket", str(status) if status else "hung up")
        noted.complain("socket", case, _wrong_with_handshake(status, first))
        if status != 101:
            return
        heard = _talk(connection, case.frames)
        noted.complain("socket", case, ["shows internals"] if INTERNALS.search(heard) else [])


def _wrong_with_handshake(status: int, first: bytes) -> list[str]:
    wrong = ["shows internals"] if INTERNALS.search(first) else []
    # 200: at the root, what asks for no WebSocket is shown the page.
    if status not in {0, 101, 200, 401, 403, 404, 405, 426, 429, 503, *SERVERS_OWN}:
        wrong.append(f"{status} to a handshake: {first[:200]!r}")
    return wrong


def _talk(connection: socket.socket, frames: list[Frame]) -> bytes:
    heard = b""
    try:
        for frame in frames:
            connection.sendall(frame.wire())
        connection.settimeout(WAIT_SECONDS)
        while len(heard) < 1_000_000 and (more := connection.recv(65_536)):
            heard += more
    except OSError:
        pass
    return heard


def is_hung_up(connection: socket.socket, seconds: float = 30) -> bool:
    """Whether the server ends this conversation in so many seconds, whatever it still has to say."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def flood(connection: socket.socket, frame: Callable[[int], Frame], count: int) -> bool:
    """Send so many frames without ever listening; whether the server hung up on that."""
    try:
        for number in range(count):
            connection.sendall(frame(number).wire())
    except OSError:
        return True
    return False
