"""A short course of noise at real processes, and the ill manners that need a test of their own.

`make fuzz` runs the long course. NOISE_CASES and NOISE_SEED change this one.
"""

import os
import socket
import time

import pytest

from tests.conftest import empty_stores
from tests.hostile import raw_noise, socket_noise
from tests.hostile.course import run_course
from tests.hostile.house import open_house
from tests.hostile.oracle import Noted
from tests.hostile.socket_noise import BINARY, CLOSE, CONTINUATION, PING, TEXT, Frame, connect, is_hung_up, said
from tests.hostile.wire import ask

CASES = int(os.environ.get("NOISE_CASES", "200"))
SEED = int(os.environ.get("NOISE_SEED", "1"))
PROTOCOL_ERROR = (1002).to_bytes(2, "big")

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def house(servers, tmp_path_factory):
    # What other tests left is audited too.
    empty_stores()
    with open_house(tmp_path_factory.mktemp("house")) as house:
        yield house


def test_a_short_course_of_noise_leaves_the_house_as_it_was(house):
    noted = Noted()

    run_course(house, CASES, SEED, noted)

    assert noted.total >= CASES * 0.9
    assert not noted.complaints, "\n".join([f"NOISE_CASES={CASES} NOISE_SEED={SEED}", *noted.complaints[:20]])


@pytest.mark.parametrize("shape", raw_noise.SMUGGLED)
def test_a_request_inside_of_a_request_is_not_answered(house, shape):
    for port in house.ports:
        answers = raw_noise.answers_to(raw_noise.Bytes(port, [raw_noise.SMUGGLED[shape]]), seconds=1)

        # The inner one would be 401 in the application's words.
        assert len([answer for answer in answers if answer.is_of_the_application]) <= 1
        assert 401 not in [answer.status for answer in answers]


def test_two_sound_requests_on_one_connection_are_both_answered(house):
    """The control of the test above: it would have been heard."""
    login = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    for port in house.ports:
        answers = raw_noise.answers_to(raw_noise.Bytes(port, [login + raw_noise.INNER]), seconds=5)

        assert [answer.status for answer in answers] == [400, 401]


BROKEN = {
    "not masked": [Frame(TEXT, b"{}", masked=False)],
    "a ping of 126 bytes": [Frame(PING, b"x" * 126)],
    "a ping in two parts": [Frame(PING, b"x", final=False)],
    "a close of one byte": [Frame(CLOSE, b"x")],
    "a close with a number that is none": [Frame(CLOSE, (999).to_bytes(2, "big"))],
    "no such opcode": [Frame(3, b"x")],
    "bits that nobody agreed on": [Frame(TEXT, b"{}", reserved=7)],
    "the rest of nothing": [Frame(CONTINUATION, b"x")],
    "a message inside of a message": [Frame(TEXT, b"{", final=False), Frame(TEXT, b"}")],
    "bytes that are no text": [Frame(TEXT, b"\xff\xfe\xfd")],
    "a message over the limit": [Frame(TEXT, b"x" * 5_000)],
    "a message over the limit in parts": [Frame(TEXT, b"x" * 2_000, final=False)] * 1
    + [Frame(CONTINUATION, b"x" * 2_000, final=False)] * 3,
    "a length beyond all limits": [Frame(BINARY, b"x" * 5_000, length=2**62)],
    "a flood of joins": [said("joinFlashSale", {"flashSaleId": number}) for number in range(3_000)],
}


@pytest.mark.parametrize("what", BROKEN)
def test_whoever_breaks_the_protocol_is_hung_up_on_and_nobody_else(house, what):
    neighbour, _ = connect(house.shop.live_port)
    with neighbour:
        connection, _ = connect(house.shop.live_port)
        with connection:
            try:
                for frame in BROKEN[what]:
                    connection.sendall(frame.wire())
            except OSError:
                pass
            assert is_hung_up(connection)

        neighbour.sendall(said("joinFlashSale", {"flashSaleId": house.sale_id}).wire())
        neighbour.settimeout(30)
        assert b"stockUpdate" in neighbour.recv(65_536)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Sec-WebSocket-Version", "8")], b"426"),
        ([("Sec-WebSocket-Version", "")], b"426"),
        ([("Sec-WebSocket-Key", "short")], b"101"),
    ],
)
def test_a_handshake_that_is_none_is_refused_in_the_envelope(house, headers, status):
    connection, first = connect(house.shop.live_port, headers=headers)
    connection.close()

    assert first[9:12] == status
    assert status == b"101" or b"Sec-WebSocket-Version: 13" in first


def test_whoever_keeps_to_the_protocol_is_not_hung_up_on(house):
    """The control of the test above: nothing but what is broken ends a conversation."""
    connection, _ = connect(house.shop.live_port)
    with connection:
        for frame in (Frame(TEXT, b"{"), Frame(BINARY, b"\xff"), Frame(PING, b"x" * 125), said("x", {})):
            connection.sendall(frame.wire())

        assert not is_hung_up(connection, seconds=3)


def test_whoever_never_reads_is_dropped_and_the_others_are_told(house):
    deaf = socket_noise.connect_deaf(house.shop.live_port)
    listening, _ = connect(house.shop.live_port)
    with deaf, listening:
        # More is said back than any buffer between the two holds; who asks slowly enough is not flooding.
        end = time.monotonic() + 120
        is_dropped = False
        while not is_dropped and time.monotonic() < end:
            is_dropped = socket_noise.flood(deaf, lambda _number: said("x" * 40, {}), 20)
            time.sleep(1)
        assert is_dropped

        listening.sendall(said("joinFlashSale", {"flashSaleId": house.sale_id}).wire())
        listening.settimeout(30)
        assert b"stockUpdate" in listening.recv(65_536)


def test_hundreds_of_half_open_connections_keep_nobody_out(house):
    half_open = []
    try:
        for port in house.ports:
            for sent in (b"", b"GET / HT", b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"):
                for _ in range(50 if port == house.shop.live_port else 5):
                    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
                    connection.sendall(sent)
                    half_open.append(connection)
        for port in house.ports:
            assert ask(port, "GET", "/api/products", {}).status == 200
        house.buy_soundly()
    finally:
        for connection in half_open:
            connection.close()
    assert not house.wrong_at_the_end()
