"""How long a change of stock takes to reach two thousand sockets, beside one socket that is alone.

The client is one process on the same two cores and reads every frame, so its own work is in the figures too.
"""

import asyncio
import os
import statistics
import time
from decimal import Decimal

import aiohttp
import orjson

from bench.result import Benchmark, Result, Row, Table
from bench.stack import Stack, measured_stack
from models.clock import now
from models.database import transaction
from models.product import Product
from models.sales import NewSale, create_sale, patch_sale
from ops.errors import OpsError

SOCKETS = 2_000
# Handshakes at once: a crowd that connects is not what is measured.
CONNECTING_AT_ONCE = 50
STOCK = 100_000
HEAR_SECONDS_MAX = 10
# Changes come one at a time, and the last has reached everybody before the next is made.
PAUSE_SECONDS = 0.2


def run(rounds: int) -> Result:
    """Each round is one change of the stock of each sale; its figures are those of all sockets that joined."""
    # A crowd from one address is what the limits are there for; here it is only a benchmark.
    os.environ["RATE_LIMIT_EXEMPT"] = "127.0.0.0/8"
    with measured_stack() as stack:
        alone, crowd = asyncio.run(_measure(stack, rounds))
        return Result(
            title=f"A change of stock to {SOCKETS:,} sockets",
            tables=[
                Table(
                    "",
                    "milliseconds",
                    [
                        Row("one socket, alone", tuple(times[0] for times in alone)),
                        Row(f"{SOCKETS:,} sockets: half of them have heard", tuple(map(statistics.median, crowd))),
                        Row(
                            f"{SOCKETS:,} sockets: 99 % have heard", tuple(_percentile(times, 0.99) for times in crowd)
                        ),
                        Row(f"{SOCKETS:,} sockets: the last has heard", tuple(max(times) for times in crowd)),
                    ],
                )
            ],
            notes=(
                f"live: gunicorn with gevent, {stack.settings.live_workers} process; all sockets are open at once",
                "from before the transaction that changes the stock to the frame in the client's hands",
                "the client, one process, shares the two cores with the shop and reads every frame",
            ),
            servers=stack.versions(),
        )


async def _measure(stack: Stack, rounds: int) -> tuple[list[list[float]], list[list[float]]]:
    quiet, loud = _make_sale("Alone"), _make_sale("Crowd")
    url = stack.live_url.replace("http", "ws", 1) + "/ws"
    limitless = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=limitless) as session:
        one = await _join(session, url, quiet, 1)
        many = await _join(session, url, loud, SOCKETS)
        alone, crowd = [], []
        for change in range(1, rounds + 1):
            alone.append(await _hear(quiet, one, STOCK + change))
            await asyncio.sleep(PAUSE_SECONDS)
            crowd.append(await _hear(loud, many, STOCK + change))
            await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.gather(*(socket.close() for socket in [*one, *many]))
    return alone, crowd


def _make_sale(title: str) -> int:
    with transaction() as session:
        product = Product(name=title, slug=title.lower(), price=Decimal(10))
        session.add(product)
    return create_sale(NewSale(product.id, title, now(), total_stock=STOCK), actor_id=None)


async def _join(
    session: aiohttp.ClientSession, url: str, sale_id: int, count: int
) -> list[aiohttp.ClientWebSocketResponse]:
    """Sockets that have joined the sale and have heard its stock."""
    turn = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def one() -> aiohttp.ClientWebSocketResponse:
        async with turn:
            socket = await session.ws_connect(url)
            await socket.send_json({"event": "joinFlashSale", "data": {"flashSaleId": str(sale_id)}})
            await _until(socket, STOCK)
            return socket

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def _hear(sale_id: int, sockets: list[aiohttp.ClientWebSocketResponse], stock: int) -> list[float]:
    """Milliseconds until each socket has heard of the new stock."""
    listening = [asyncio.create_task(_until(socket, stock)) for socket in sockets]
    await asyncio.sleep(0)
    began_at = time.monotonic()
    await asyncio.to_thread(patch_sale, sale_id, {"total_stock": stock}, actor_id=None)
    return [(heard_at - began_at) * 1000 for heard_at in await asyncio.gather(*listening)]


async def _until(socket: aiohttp.ClientWebSocketResponse, stock: int) -> float:
    """When this socket heard of so many units; raises OpsError if it does not."""
    while True:
        message = await socket.receive(timeout=HEAR_SECONDS_MAX)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise OpsError(f"a socket ended: {message.type.name}")
        heard_at = time.monotonic()
        frame = orjson.loads(message.data)
        if frame["event"] == "error":
            raise OpsError(f"a socket heard {frame}")
        if frame["event"] == "stockUpdate" and frame["data"]["availableUnits"] == stock:
            return heard_at


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


BENCHMARK = Benchmark("fanout", f"a change of stock to {SOCKETS:,} sockets, beside one socket alone", run)
