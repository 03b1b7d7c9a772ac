"""The auditor: reads the shop's books of a sale once the crowd is through, however shaken the shop may be by then."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from models.settings import Settings
from ops.buyers import Buyer, demo_database
from ops.errors import OpsError
from ops.rush.patience import Patience
from ops.rush.sales import RushSale
from ops.rush.shop import Shop, TroubleError
from ops.rush.verdict import SaleBooks

BOOKS_SECONDS_MAX = 30.0
FIRST_PAUSE_SECONDS = 0.2

# Units that somebody outside of the crowd bought.
SOLD_TO_OTHERS = """
    SELECT coalesce(sum(purchases.quantity), 0)
    FROM purchases LEFT JOIN unnest(%s::bigint[]) AS crowd (user_id) USING (user_id)
    WHERE purchases.sale_id = %s AND purchases.status = 'confirmed' AND crowd.user_id IS NULL
"""


class UnsettledError(Exception):
    """Somebody outside of the crowd bought while the books were read: they must be read again."""


class Auditor:
    """Asks the shop for its audit as the demo's admin, and the database for what others bought beside the crowd."""

    def __init__(self, shop: Shop, known: Settings, admin_token: str, crowd: Sequence[Buyer]) -> None:
        self._shop = shop
        self._known = known
        self._admin_token = admin_token
        self._user_ids = [buyer.user_id for buyer in crowd]

    async def books(self, sale: RushSale) -> SaleBooks | None:
        """The sale's books, or None if they cannot be had within half a minute."""
        patience = Patience(BOOKS_SECONDS_MAX, first=FIRST_PAUSE_SECONDS)
        while True:
            try:
                return await self._read(sale)
            except (OpsError, TroubleError, UnsettledError):
                pause = patience.pause()
            if pause is None:
                return None
            await asyncio.sleep(pause)

    async def _read(self, sale: RushSale) -> SaleBooks:
        others = self._sold_to_others(sale)
        audit = await self._audit(sale)
        if self._sold_to_others(sale) != others:
            raise UnsettledError
        return SaleBooks.of_audit(audit, stock_before=sale.total_stock, sold_to_others=others)

    async def _audit(self, sale: RushSale) -> Mapping[str, Any]:
        answer = await self._shop.ask("GET", f"/api/flash-sales/{sale.sale_id}/audit", token=self._admin_token)
        if not answer.is_good:
            raise TroubleError(answer.code)
        return answer.data

    def _sold_to_others(self, sale: RushSale) -> int:
        with demo_database(self._known) as database:
            row = database.execute(SOLD_TO_OTHERS, (self._user_ids, sale.sale_id)).fetchone()
        return int(row[0]) if row else 0
