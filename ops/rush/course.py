"""The course of a rush: make the buyers, find the sales, let the crowd loose, read the books, judge."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from models.settings import Settings
from ops.boot import loopback_url
from ops.buyers import Buyer, demo_admin_token, demo_database, make_buyers
from ops.errors import OpsError
from ops.launch import raise_open_files
from ops.rush.auditor import Auditor
from ops.rush.crowd import Crowd, Party
from ops.rush.display import Display
from ops.rush.figures import crowd_figures, sale_figures
from ops.rush.report import tell
from ops.rush.sales import RushSale, find_sale, make_sales, untouched_demo_sale
from ops.rush.shop import Shop
from ops.rush.tally import SaleCount, Tally
from ops.rush.verdict import SaleBooks, Verdict, judge
from ops.stack import adopt_running_stack

BUYERS_DEFAULT = 5_000
UNITS_DEFAULT = 200
CONNECTIONS_DEFAULT = 256
PATIENCE_SECONDS_DEFAULT = 60.0
ADMIN_TOKEN_LIFETIME = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Options:
    """What `make rush` can be told. `sale_ids` names sales; without any, `sales` fresh ones of `units` are made (or
    the demo's own is taken). `patience_seconds` is how long a buyer keeps trying for one answer.
    """

    buyers: int = BUYERS_DEFAULT
    units: int = UNITS_DEFAULT
    quantity: int = 1
    sale_ids: tuple[int, ...] = ()
    sales: int = 1
    connections: int = CONNECTIONS_DEFAULT
    patience_seconds: float = PATIENCE_SECONDS_DEFAULT
    data_dir: Path | None = None  # of the stack; None: as the settings say


def run(options: Options, *, console: Console | None = None) -> Verdict:
    """Do a whole rush on the running stack and tell about it on the console; returns the verdict.

    Takes over the stack's settings for this whole process. Raises OpsError, whose text is one line for the operator,
    when there is no demo running or no sale to be had.
    """
    console = console or Console(highlight=False)
    raise_open_files()
    known = adopt_running_stack(options.data_dir)
    return asyncio.run(_Course(options, known, console).run())


class _Course:
    """One rush, with what all of its steps need."""

    def __init__(self, options: Options, known: Settings, console: Console) -> None:
        self._options = options
        self._known = known
        self._console = console
        self._base_url = loopback_url(known.host, known.port)
        with demo_database(known) as database:
            self._admin_token = demo_admin_token(database, ADMIN_TOKEN_LIFETIME)
        self._tally = Tally()
        self._own_seconds = 0.0  # of processor time, on the same cores as the shop

    async def run(self) -> Verdict:
        # Half as many again for those who ask for their outcome, and a few for ourselves.
        async with Shop(self._base_url, connections=self._options.connections * 3 // 2 + 2) as shop:
            for sale_id in self._options.sale_ids:
                await find_sale(shop, sale_id)  # a wrong name is told before thousands of buyers are made
            buyers = self._make_buyers()
            sales = await self._find_sales(shop)
            parties = [Party(sale, buyers[index :: len(sales)]) for index, sale in enumerate(sales)]
            self._announce(parties)
            await self._let_loose(shop, parties)
            auditor = Auditor(shop, self._known, self._admin_token, buyers)
            pairs = [(self._tally.count(sale.sale_id), await auditor.books(sale)) for sale in sales]
        verdict = Verdict(judge(pairs), self._figures(sales, pairs))
        tell(verdict, self._console)
        return verdict

    def _make_buyers(self) -> list[Buyer]:
        options = self._options
        sales = len(options.sale_ids) or options.sales
        if sales > options.buyers:
            raise OpsError(f"{options.buyers} buyers cannot be spread over {sales} sales: more with BUYERS=")
        started = time.monotonic()
        with demo_database(self._known) as database:
            buyers = make_buyers(database, options.buyers)
        self._console.print(f"{len(buyers):,} buyers made in {time.monotonic() - started:.1f} s")
        return buyers

    async def _find_sales(self, shop: Shop) -> list[RushSale]:
        options = self._options
        sale_ids = list(options.sale_ids)
        if not sale_ids and options.sales == 1:
            with demo_database(self._known) as database:
                untouched = untouched_demo_sale(database, units=options.units, quantity=options.quantity)
            sale_ids = [untouched] if untouched is not None else []
        if not sale_ids:
            sale_ids = await make_sales(shop, self._admin_token, count=options.sales, units=options.units)
        return [await find_sale(shop, sale_id) for sale_id in sale_ids]

    def _announce(self, parties: Sequence[Party]) -> None:
        for party in parties:
            opens_in = party.sale.opens_in_seconds
            when = f"opens in {opens_in:.1f} s" if opens_in > 0 else "is open"
            what = f"{len(party.buyers):,} buyers for its {party.sale.total_stock:,} units"
            self._console.print(f"Sale {party.sale.sale_id} {when}: {what}, {self._options.quantity} each")

    async def _let_loose(self, shop: Shop, parties: Sequence[Party]) -> None:
        options = self._options
        crowd = Crowd(
            shop,
            self._tally,
            quantity=options.quantity,
            requests_at_once=options.connections,
            patience_seconds=options.patience_seconds,
        )
        display = asyncio.create_task(
            Display(self._console, shop, self._tally, [party.sale for party in parties]).show()
        )
        started = time.process_time()
        try:
            await crowd.rush(parties)
        finally:
            self._own_seconds = time.process_time() - started
            display.cancel()
            with suppress(asyncio.CancelledError):
                await display

    def _figures(
        self, sales: Sequence[RushSale], pairs: Sequence[tuple[SaleCount, SaleBooks | None]]
    ) -> dict[str, Any]:
        visits = self._tally.visits
        ends = [moment for v in visits for moment in (v.accepted_at, v.refused_at, v.told_at) if moment is not None]
        seconds = max(ends, default=0.0) - min((visit.pressed_at for visit in visits), default=0.0)
        return {
            "quantity": self._options.quantity,
            "connections": self._options.connections,
            **crowd_figures(self._tally, max(0.0, seconds)),
            "crowdProcessorSeconds": round(self._own_seconds, 2),
            "sales": [
                sale_figures(sale, count, books, self._tally.of_sale(sale.sale_id))
                for sale, (count, books) in zip(sales, pairs, strict=True)
            ],
        }
