"""The crowd: buyers over HTTP and on sockets, who do what a sound client does when something is in the way.

The same Idempotency-Key every time, the pause that the shop asks for with some jitter, another address of the shop when
one is silent. Who sent no key and had no answer does not ask again: nobody could tell one request from two.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import aiohttp
import orjson

from ops.rush.shop import Answer, Shop, TroubleError
from tests.faults.ledger import QUEUED, Ask, Ledger

ANSWER_SECONDS_MAX = 12.0
LOOK_WAIT_SECONDS = 3
PAUSE_SECONDS_MAX = 1.0
# How long a buyer keeps asking for a ticket, and for what becomes of a hold.
PATIENCE_SECONDS = 45.0
CONNECTIONS = 64
# Another try may be answered better: a shop that is away for a moment, or one of its processes that is wrong.
AGAIN = frozenset({401, 403, 429, 503})
TOO_EARLY = "NOT_STARTED"
SOCKET_SECONDS_MAX = 10.0


class Crowd:
    """All buyers of a seed, over every web and every live of the stack."""

    def __init__(self, web_urls: Sequence[str], live_urls: Sequence[str], ledger: Ledger, rng: random.Random) -> None:
        self.ledger = ledger
        # Set when the line is drained: who still looks for an outcome looks once more, and goes home.
        self.is_over = asyncio.Event()
        self._rng = rng
        self._live_urls = live_urls
        self._webs = [Shop(url, connections=CONNECTIONS) for url in web_urls]
        self._lives = [Shop(url, connections=CONNECTIONS) for url in live_urls]

    async def __aenter__(self) -> "Crowd":
        for shop in (*self._webs, *self._lives):
            await shop.__aenter__()
        return self

    async def __aexit__(self, *what: Any) -> None:
        for shop in (*self._webs, *self._lives):
            await shop.__aexit__(None, None, None)

    async def ask_anybody(
        self, method: str, path: str, *, token: str = "", body: Mapping[str, Any] | None = None, key: str = ""
    ) -> Answer:
        """One request to one of the webs; raises TroubleError."""
        return await self._rng.choice(self._webs).ask(
            method,
            path,
            token=token,
            body=orjson.dumps(body) if body is not None else None,
            idempotency_key=key,
            seconds_max=ANSWER_SECONDS_MAX,
        )

    async def visit(self, ask: Ask, at: float, *, listens: bool) -> None:
        """Press the button at `at` (the rig's monotonic clock), and stay until the outcome is known."""
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        listening = asyncio.create_task(self._listen(ask)) if listens else None
        try:
            await self._buy(ask)
            if ask.is_accepted:
                await self._learn(ask)
                if ask.outcome == "reserved" and ask.then is not None:
                    await self._end_hold(ask, ask.then)
        finally:
            if listening is not None:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening

    async def look(self, ask: Ask, ticket: int) -> Answer | None:
        """Ask for the outcome of a ticket once, at web or at live; None if no answer came."""
        shop = self._rng.choice((*self._webs, *self._lives))
        try:
            return await shop.ask(
                "GET",
                f"/api/purchases/{ask.sale_id}-{ticket}?wait={0 if self.is_over.is_set() else LOOK_WAIT_SECONDS}",
                token=ask.token,
                seconds_max=ANSWER_SECONDS_MAX,
            )
        except TroubleError as trouble:
            self.ledger.silences[str(trouble)] += 1
            return None

    async def _buy(self, ask: Ask) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        path = f"/api/flash-sales/{ask.sale_id}/{ask.kind}s"
        while time.monotonic() < end:
            ask.sent_at = ask.sent_at or time.monotonic()
            ask.tries += 1
            answer = await self._try(ask, "POST", path, {"quantity": ask.quantity}, ask.key or "")
            if answer is not None and "ticket" in answer.data:
                data = answer.data
                ask.hear(time.monotonic(), int(data["ticket"]), str(data["status"]), "answer")
                return
            if answer is not None and answer.code == TOO_EARLY:
                ask.tries -= 1  # refused before the line, for sure
            elif answer is not None and answer.status not in AGAIN and answer.status < 500:
                ask.refusal = answer.code
                self.ledger.refusals[answer.code] += 1
                return
            elif ask.key is None:
                return
            await self._pause(answer, ask.tries)

    async def _learn(self, ask: Ask) -> None:
        """Ask until the outcome is told, or the line is drained and there is none."""
        looks = 0
        while ask.outcome is None:
            looks += 1
            last = self.is_over.is_set()
            answer = await self.look(ask, ask.tickets[-1])
            self._note(ask, answer)
            if answer is not None and answer.is_good:
                ask.hear(time.monotonic(), ask.tickets[-1], str(answer.data["status"]), "look")
                if answer.data["status"] != QUEUED:
                    return
            if last:
                return
            await self._pause(answer, looks)

    async def _end_hold(self, ask: Ask, how: str) -> None:
        """Check the hold out, or give it back, and ask again where no answer came."""
        purchase = f"/api/purchases/{ask.sale_id}-{ask.tickets[-1]}"
        method, path = ("POST", f"{purchase}/checkout") if how == "checkout" else ("DELETE", purchase)
        end = time.monotonic() + PATIENCE_SECONDS
        for tries in count(1):
            if time.monotonic() > end:
                return
            key = f"checkout-{ask.sale_id}-{ask.tickets[-1]}" if how == "checkout" else ""
            answer = await self._try(ask, method, path, {} if how == "checkout" else None, key)
            if answer is not None and answer.is_good:
                ask.hear(time.monotonic(), ask.tickets[-1], str(answer.data["status"]), how)
                return
            if answer is not None and answer.status not in AGAIN and answer.status < 500:
                return  # it was ended already, by the try whose answer was lost or by time
            await self._pause(answer, tries)

    async def _try(self, ask: Ask, method: str, path: str, body: Mapping[str, Any] | None, key: str) -> Answer | None:
        mark = object()
        self.ledger.in_hand.add(mark)
        try:
            answer = await self.ask_anybody(method, path, token=ask.token, body=body, key=key)
        except TroubleError as trouble:
            self.ledger.silences[str(trouble)] += 1
            return None
        finally:
            self.ledger.in_hand.discard(mark)
        self._note(ask, answer)
        return answer

    def _note(self, ask: Ask, answer: Answer | None) -> None:
        """Remember an answer that no fault excuses: above 499 and no clean 503, or a sound token turned away."""
        if answer is None:
            return
        is_clean = answer.status == 503 and answer.retry_after_seconds is not None
        if is_clean:
            self.ledger.refusals[answer.code] += 1
        elif answer.status >= 500 or answer.status in (401, 403):
            ask.broken[f"{answer.status} {answer.code}"] += 1

    async def _pause(self, answer: Answer | None, tries: int = 1) -> None:
        """What the shop asks for, or longer and longer where nobody answers; with jitter, and no longer than a cap."""
        asked = min((answer and answer.retry_after_seconds) or 0.1 * 2 ** min(tries, 10), PAUSE_SECONDS_MAX)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rng.uniform(asked / 2, asked * 1.5)):
                await self.is_over.wait()
                await asyncio.sleep(0.05)

    async def _listen(self, ask: Ask) -> None:
        """Hear of one's own purchases over a socket, and come back when it breaks."""
        since: int | None = None
        async with aiohttp.ClientSession() as session:
            while True:
                with suppress(aiohttp.ClientError, OSError, TimeoutError):
                    since = await self._converse(session, ask, since)
                await asyncio.sleep(self._rng.uniform(0.1, 0.5))

    async def _converse(self, session: aiohttp.ClientSession, ask: Ask, since: int | None) -> int | None:
        url = self._rng.choice(list(self._live_urls)).replace("http", "ws", 1) + "/ws"
        headers = {"Authorization": f"Bearer {ask.token}"}
        async with asyncio.timeout(SOCKET_SECONDS_MAX):
            socket = await session.ws_connect(url, headers=headers)
        async with socket:
            join = {"flashSaleId": str(ask.sale_id)} | ({"since": since} if since is not None else {})
            await socket.send_json({"event": "joinFlashSale", "data": join})
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                event = orjson.loads(message.data)
                since = max(since or 0, int(event["data"].get("seq") or 0))
                if event["event"] == "purchaseSettled":
                    ask.hear(time.monotonic(), int(event["data"]["ticket"]), str(event["data"]["status"]), "socket")
        return since
