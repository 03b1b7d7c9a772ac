"""The client of the fan-out: it hears every stock, however the bytes come in."""

import asyncio

import orjson

from bench.listeners import Listener


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written.append(data)

    def close(self) -> None:
        pass


def _frame(kind: int, content: bytes) -> bytes:
    length = bytes([len(content)]) if len(content) < 126 else b"\x7e" + len(content).to_bytes(2, "big")
    return bytes([0x80 | kind]) + length + content


def _stock(units: int, padding: int = 0) -> bytes:
    data = {"flashSaleId": "1", "availableUnits": units, "note": "x" * padding}
    return _frame(0x1, orjson.dumps({"event": "stockUpdate", "data": data}))


def _listen(*parts: bytes) -> tuple[Listener, Wire]:
    async def scene() -> tuple[Listener, Wire]:
        listener, wire = Listener("here", "/ws", 1), Wire()
        listener.connection_made(wire)
        for part in (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", *parts):
            listener.data_received(part)
        if listener.joined.done():
            listener.joined.exception()
        return listener, wire

    return asyncio.run(scene())


def test_every_stock_is_heard_whatever_pieces_it_comes_in() -> None:
    stream = _stock(7) + _stock(6, padding=300) + _stock(5)
    whole, _ = _listen(stream)
    in_bytes, _ = _listen(*(stream[at : at + 1] for at in range(len(stream))))

    assert [stock for stock, _ in whole.heard] == [7, 6, 5]
    assert [stock for stock, _ in in_bytes.heard] == [7, 6, 5]


def test_it_joins_its_sale_and_answers_a_ping() -> None:
    _, wire = _listen(_frame(0x9, b"still there?"))

    hello, join, pong = wire.written
    assert hello.startswith(b"GET /ws HTTP/1.1\r\n")
    assert b"joinFlashSale" in join
    assert pong[0] == 0x8A
    assert pong.endswith(b"still there?")


def test_a_socket_that_ends_says_so() -> None:
    listener, _ = _listen(_stock(7), _frame(0x8, b"\x03\xe9"))

    assert listener.ended == "the server closed"
