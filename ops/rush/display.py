"""What the terminal shows while the crowd is in: one live line, or a plain line a second where there is no terminal."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ops.rush.sales import RushSale
from ops.rush.shop import Shop, TroubleError
from ops.rush.tally import Tally

LIVE_SECONDS = 0.2
PLAIN_SECONDS = 1.0
STOCK_SECONDS = 0.5
STOCK_ANSWER_SECONDS_MAX = 3.0


class Display:
    """Shows the tally until it is cancelled; asks the shop twice a second for what remains."""

    def __init__(self, console: Console, shop: Shop, tally: Tally, sales: Sequence[RushSale]) -> None:
        self._console = console
        self._shop = shop
        self._tally = tally
        self._sales = sales
        self._remaining = {sale.sale_id: sale.total_stock for sale in sales}
        self._requests_before = 0
        self._rate = 0.0

    async def show(self) -> None:
        """Run until cancelled; the last state stays on the terminal."""
        stock = asyncio.create_task(self._watch_stock())
        try:
            if self._console.is_terminal:
                await self._show_live()
            else:
                await self._show_lines()
        finally:
            stock.cancel()

    async def _show_live(self) -> None:
        with Live(self._table(), console=self._console, auto_refresh=False) as live:
            try:
                while True:
                    await asyncio.sleep(LIVE_SECONDS)
                    self._measure(LIVE_SECONDS)
                    live.update(self._table(), refresh=True)
            finally:
                live.update(self._table(), refresh=True)

    async def _show_lines(self) -> None:
        while True:
            await asyncio.sleep(PLAIN_SECONDS)
            self._measure(PLAIN_SECONDS)
            if self._tally.requests:
                print("  ".join(f"{name} {value}" for name, value in self._values().items()), flush=True)

    def _measure(self, seconds: float) -> None:
        """Requests a second, smoothed over the last second or so."""
        fresh = (self._tally.requests - self._requests_before) / seconds
        weight = min(1.0, seconds / PLAIN_SECONDS)
        self._rate += (fresh - self._rate) * weight
        self._requests_before = self._tally.requests

    def _values(self) -> dict[str, str]:
        tally = self._tally
        return {
            "buyers": f"{tally.done:,}/{len(tally.visits):,}",
            "accepted": f"{tally.accepted:,}",
            "refused": f"{tally.refused:,}",
            "settled": f"{tally.settled:,}",
            "confirmed": f"{tally.confirmed:,}",
            "remaining": f"{sum(self._remaining.values()):,}",
            "req/s": f"{self._rate:,.0f}",
        }

    def _table(self) -> Table:
        values = self._values()
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in values:
            table.add_column(name, justify="right", min_width=9)
        table.add_row(*values.values())
        return table

    async def _watch_stock(self) -> None:
        while True:
            for sale in self._sales:
                with suppress(TroubleError):
                    answer = await self._shop.ask(
                        "GET", f"/api/flash-sales/{sale.sale_id}", seconds_max=STOCK_ANSWER_SECONDS_MAX
                    )
                    if answer.is_good:
                        self._remaining[sale.sale_id] = int(answer.data["remainingStock"])
            await asyncio.sleep(STOCK_SECONDS)
