"""Steady load: buyers, holds, checkouts, cancels, retries, readers, pages, sockets and operators, over HTTP.

Each part does one thing, waits, and does the next, for as long as the soak runs. A refusal is an ordinary answer; what
counts as trouble (no answer, a 5xx that is no 503) is counted, and told at the end.
"""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp
import orjson

from models.clock import now, to_iso
from ops.buyers import Buyer
from ops.rush.shop import Answer, Shop, TroubleError

BUYERS_AT_ONCE = 6
READERS = 3
SOCKETS = 20
SALES_AT_ONCE = 3
SALE_LASTS = timedelta(seconds=40)
SALE_OPENS_IN = timedelta(seconds=3)
UNITS = 100_000
HOLD_SECONDS = 5
SOCKET_SECONDS = (2.0, 20.0)
PAUSE_SECONDS = (0.02, 0.12)
READ_PAUSE_SECONDS = (0.1, 0.4)
OPERATOR_PAUSE_SECONDS = 2.0
SOCKET_ANSWER_SECONDS_MAX = 10.0
SERVER_ERROR, UNAVAILABLE = 500, 503


@dataclass
class Load:
    """The crowd of a soak. `done` counts what was done by name, `troubles` what should not happen."""

    shop: Shop
    live_url: str
    admin_token: str
    buyers: Sequence[Buyer]
    done: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    _sales: list[int] = field(default_factory=list)
    _products: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until `stop` is set."""
        for number in range(SALES_AT_ONCE):
            await self._new_product(number)
        parts: list[Callable[[], Awaitable[None]]] = [
            *[self._buy] * BUYERS_AT_ONCE,
            *[self._read] * READERS,
            *[self._listen] * SOCKETS,
            self._operate,
            *(partial(self._hold_sale, product) for product in self._products),
        ]
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self._repeat(part, stop))

    async def _repeat(self, part: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await part()
            except (TroubleError, aiohttp.ClientError, TimeoutError) as why:
                self.troubles[f"{getattr(part, '__name__', 'sale').strip('_')}: {why or type(why).__name__}"] += 1
                await asyncio.sleep(1.0)

    async def _ask(self, method: str, path: str, token: str = "", body: Any = None, key: str = "") -> Answer:
        sent = orjson.dumps(body) if body is not None else None
        answer = await self.shop.ask(method, path, token=token, body=sent, idempotency_key=key)
        self.done["requests"] += 1
        if answer.status >= SERVER_ERROR and answer.status != UNAVAILABLE:
            self.troubles[f"{method} {answer.status} {answer.code}"] += 1
        return answer

    async def _new_product(self, number: int) -> None:
        body = {"name": f"Soaked {number} {secrets.token_hex(3)}", "price": "20.00"}
        answer = await self._ask("POST", "/api/products", self.admin_token, body)
        self._products.append(str(answer.data["id"]))

    async def _hold_sale(self, product_id: str) -> None:
        """A sale that is due, opens, is bought from, is paused for a moment, and ends by time."""
        starts_at = now() + SALE_OPENS_IN
        body = {
            "productId": product_id,
            "title": "A sale of a soak",
            "flashPrice": "10.00",
            "totalStock": UNITS,
            "startTime": to_iso(starts_at),
            "endTime": to_iso(starts_at + SALE_LASTS),
            "holdSeconds": HOLD_SECONDS,
        }
        answer = await self._ask("POST", "/api/flash-sales", self.admin_token, body)
        if not answer.is_good:
            self.troubles[f"a sale was refused: {answer.code}"] += 1
            await asyncio.sleep(1.0)
            return
        sale_id = int(answer.data["id"])
        await asyncio.sleep(SALE_OPENS_IN.total_seconds())
        self._sales.append(sale_id)
        try:
            await asyncio.sleep(SALE_LASTS.total_seconds() / 2)
            await self._ask("POST", f"/api/flash-sales/{sale_id}/pause", self.admin_token, {})
            await self._ask("POST", f"/api/flash-sales/{sale_id}/resume", self.admin_token, {})
            await asyncio.sleep(SALE_LASTS.total_seconds() / 2)
        finally:
            self._sales.remove(sale_id)
        self.done["sales"] += 1
        await asyncio.sleep(2.0)  # until beat has ended it: one sale a product at a time

    async def _buy(self) -> None:
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 - no secret
        if not self._sales:
            return
        sale_id, buyer = random.choice(self._sales), random.choice(self.buyers)  # noqa: S311
        kind = random.choice(("purchases", "purchases", "reservations"))  # noqa: S311
        path, key = f"/api/flash-sales/{sale_id}/{kind}", secrets.token_hex(8)
        answer = await self._ask("POST", path, buyer.token, {"quantity": 1}, key)
        if random.random() < 0.1:  # noqa: S311, PLR2004 - a tenth did not get the answer
            answer = await self._ask("POST", path, buyer.token, {"quantity": 1}, key)
        if not answer.is_good:
            return
        self.done["accepted"] += 1
        purchase = f"/api/purchases/{answer.data['purchaseId']}"
        outcome = await self._ask("GET", f"{purchase}?wait=5", buyer.token)
        if outcome.data.get("status") == "reserved":
            await self._end_hold(purchase, buyer)

    async def _end_hold(self, purchase: str, buyer: Buyer) -> None:
        end = random.choice(("check out", "cancel", "let it expire"))  # noqa: S311
        if end == "check out":
            await self._ask("POST", f"{purchase}/checkout", buyer.token, {}, secrets.token_hex(8))
        elif end == "cancel":
            await self._ask("DELETE", purchase, buyer.token)
        self.done[f"holds: {end}"] += 1

    async def _read(self) -> None:
        await asyncio.sleep(random.uniform(*READ_PAUSE_SECONDS))  # noqa: S311
        pages = ["/", "/api/flash-sales?limit=20", "/api/flash-sales/live", "/api/products?limit=20", "/healthz"]
        if self._sales:
            sale_id = random.choice(self._sales)  # noqa: S311
            here = f"/api/flash-sales/{sale_id}"
            pages += [f"/sales/{sale_id}", here, f"{here}/audit", f"{here}/leaderboard", f"{here}/leaderboard/totals"]
        path = random.choice(pages)  # noqa: S311
        await self._ask("GET", path, self.admin_token if path.startswith("/api/") else "")
        self.done["pages read"] += 1

    async def _listen(self) -> None:
        """A socket that comes, joins, hears, and goes, now and then without a word."""
        buyer = random.choice(self.buyers)  # noqa: S311
        if not self._sales:
            await asyncio.sleep(1.0)
            return
        join = {"event": "joinFlashSale", "data": {"flashSaleId": str(random.choice(self._sales))}}  # noqa: S311
        headers = {"Authorization": f"Bearer {buyer.token}"}
        limit = aiohttp.ClientTimeout(total=None, connect=SOCKET_ANSWER_SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=limit) as session:
            socket = await session.ws_connect(self.live_url, headers=headers)
            await socket.send_str(orjson.dumps(join).decode())
            stay = random.uniform(*SOCKET_SECONDS)  # noqa: S311
            with suppress(TimeoutError):
                async with asyncio.timeout(stay):
                    async for _ in socket:
                        self.done["frames heard"] += 1
            if random.random() < 0.8:  # noqa: S311, PLR2004 - the others lose their network
                await socket.close()
        self.done["sockets"] += 1

    async def _operate(self) -> None:
        await asyncio.sleep(OPERATOR_PAUSE_SECONDS)
        await self._ask("GET", "/api/operator-log?limit=20", self.admin_token)
        if self._sales:
            here = f"/api/flash-sales/{random.choice(self._sales)}"  # noqa: S311
            await self._ask("PATCH", here, self.admin_token, {"title": f"A sale of a soak, {secrets.token_hex(2)}"})
            await self._ask("GET", f"{here}/audit", self.admin_token)
        self.done["operator's turns"] += 1
