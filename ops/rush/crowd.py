"""The crowd: every buyer presses the button at the opening, and does not leave before knowing the outcome.

What a buyer does when something is in the way is what a good client does: the same Idempotency-Key every time, the
pause that the shop asks for, some jitter, and an end to patience.
"""

import asyncio
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from ops.buyers import Buyer
from ops.rush.patience import Patience
from ops.rush.sales import RushSale
from ops.rush.shop import Answer, Shop, TroubleError
from ops.rush.tally import QUEUED, Tally, Visit

# Most people press a moment after the opening; a few are too early and find the door still shut.
EARLY_SHARE = 0.02
EARLY_SECONDS_MAX = 0.01
LATE_SECONDS_MAX = 0.1

OUTCOME_WAIT_SECONDS = 10
# How long over the wait an answer may take before the line counts as dead.
OUTCOME_GRACE_SECONDS = 10.0
# The first pauses before asking again, at the till and for the outcome; they double.
TILL_PAUSE_SECONDS = 0.02
COUNTER_PAUSE_SECONDS = 0.1

TOO_EARLY = "NOT_STARTED"
LINE_FULL = "LINE_FULL"
# A shop that is away, overrun or broken for a moment: the same request again is safe, and may well be answered.
BROKEN = frozenset({500, 502, 503, 504})
TRY_AGAIN = BROKEN | {429}


@dataclass(frozen=True, slots=True)
class Party:
    """Buyers who want the same sale."""

    sale: RushSale
    buyers: Sequence[Buyer]


class Crowd:
    """All buyers of a rush, over a bounded number of requests at a time."""

    def __init__(
        self, shop: Shop, tally: Tally, *, quantity: int, requests_at_once: int, patience_seconds: float
    ) -> None:
        self._shop = shop
        self._tally = tally
        self._quantity = quantity
        self._body = orjson.dumps({"quantity": quantity})
        self._patience_seconds = patience_seconds
        # Two doors, so that those who wait for their outcome do not keep anybody from buying.
        self._till = asyncio.Semaphore(requests_at_once)
        self._counter = asyncio.Semaphore(max(1, requests_at_once // 2))
        self._key = secrets.token_hex(8)

    async def rush(self, parties: Sequence[Party]) -> None:
        """Let everybody buy, and return when all of them know their outcome or have lost patience."""
        async with asyncio.TaskGroup() as group:
            for party in parties:
                for buyer in party.buyers:
                    visit = Visit(party.sale.sale_id, self._quantity)
                    self._tally.visits.append(visit)
                    group.create_task(self._visit(party.sale, buyer, visit))

    async def _visit(self, sale: RushSale, buyer: Buyer, visit: Visit) -> None:
        await asyncio.sleep(max(0.0, sale.opens_in_seconds + _arrival_seconds()))
        visit.pressed_at = _now()
        if await self._buy(sale, buyer, visit):
            await self._learn(buyer, visit)

    async def _buy(self, sale: RushSale, buyer: Buyer, visit: Visit) -> bool:
        """Ask until there is an answer; True if it is a place in the line."""
        patience: Patience | None = None  # starts with the first answer, not in the queue for a connection
        while True:
            answer = await self._ask_to_buy(buyer, visit)
            patience = patience or Patience(self._patience_seconds, first=TILL_PAUSE_SECONDS)
            if answer is not None and answer.is_good:
                self._tally.accept(visit, str(answer.data.get("purchaseId", "")), _now())
                self._settle_if_told(visit, answer)
                return True
            may_try_again = answer is None or answer.code == TOO_EARLY or answer.status in TRY_AGAIN
            pause = patience.pause(_asked_pause(sale, answer)) if may_try_again else None
            if pause is None:
                # A refusal is an answer, even one that lasted. A silence or a breakdown is none: who knows what it
                # hides.
                if answer is not None and (answer.code == LINE_FULL or answer.status not in BROKEN):
                    self._tally.refuse(visit, answer.code, _now())
                return False
            await asyncio.sleep(pause)

    async def _ask_to_buy(self, buyer: Buyer, visit: Visit) -> Answer | None:
        """One try; None if no answer came."""
        async with self._till:
            visit.sent_at = _now()
            try:
                answer = await self._shop.ask(
                    "POST",
                    f"/api/flash-sales/{visit.sale_id}/purchases",
                    token=buyer.token,
                    body=self._body,
                    idempotency_key=f"{self._key}-{buyer.user_id}",
                )
            except TroubleError as trouble:
                self._tally.troubles[str(trouble)] += 1
                return None
        self._tally.requests += 1
        if answer.code == TOO_EARLY or answer.status in TRY_AGAIN:
            self._tally.troubles[answer.code] += 1
        return answer

    async def _learn(self, buyer: Buyer, visit: Visit) -> None:
        """Ask for the outcome until it is there.

        The shop may keep us waiting until it knows, or decline to and say "queued" at once: then we come back later.
        """
        patience: Patience | None = None
        while visit.told_at is None:
            answer = await self._ask_for_outcome(buyer, visit)
            patience = patience or Patience(self._patience_seconds, first=COUNTER_PAUSE_SECONDS)
            if answer is not None and answer.is_good:
                self._settle_if_told(visit, answer)
                if visit.told_at is not None:
                    return
            pause = patience.pause((answer and answer.retry_after_seconds) or 0.0)
            if pause is None:
                return
            await asyncio.sleep(pause)

    async def _ask_for_outcome(self, buyer: Buyer, visit: Visit) -> Answer | None:
        """One look; None if no answer came."""
        async with self._counter:
            try:
                answer = await self._shop.ask(
                    "GET",
                    f"/api/purchases/{visit.purchase_id}?wait={OUTCOME_WAIT_SECONDS}",
                    token=buyer.token,
                    seconds_max=OUTCOME_WAIT_SECONDS + OUTCOME_GRACE_SECONDS,
                )
            except TroubleError as trouble:
                self._tally.troubles[str(trouble)] += 1
                return None
        self._tally.requests += 1
        if not answer.is_good:
            self._tally.troubles[answer.code] += 1
        return answer

    def _settle_if_told(self, visit: Visit, answer: Answer) -> None:
        data = answer.data
        if data.get("status", QUEUED) == QUEUED:
            return
        self._tally.settle(
            visit,
            _now(),
            status=str(data["status"]),
            reason=str(data.get("reason") or ""),
            units=int(data.get("quantity") or 0),
            settled_at=str(data.get("settledAt") or ""),
        )


def _asked_pause(sale: RushSale, answer: Answer | None) -> float:
    """What the shop asks for before the next try, in seconds: its opening, or its Retry-After."""
    if answer is None:
        return 0.0
    if answer.code == TOO_EARLY:
        return max(0.0, sale.opens_in_seconds)
    return answer.retry_after_seconds or 0.0


def _arrival_seconds() -> float:
    """When a buyer presses the button, in seconds from the opening."""
    if random.random() < EARLY_SHARE:  # noqa: S311 - a crowd, not a secret
        return -random.uniform(0, EARLY_SECONDS_MAX)  # noqa: S311
    return random.uniform(0, LATE_SECONDS_MAX)  # noqa: S311


def _now() -> float:
    return asyncio.get_running_loop().time()
