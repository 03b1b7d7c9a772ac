"""Which sales a rush is for: those that were named, the demo's own while nobody has touched it, or fresh ones."""

import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
import psycopg

from models.clock import now, to_iso
from ops.demo import FLASH_PRICE, PRICE, PRODUCT_SLUG
from ops.errors import OpsError
from ops.rush.shop import Shop, TroubleError

FRESH_OPENS_IN = timedelta(seconds=3)
MAKING_ONE_TAKES = timedelta(milliseconds=100)
OPENING_SECONDS_MAX = 600

# The demo's own sale, as long as nobody bought from it: buyable within a minute, and by everybody.
UNTOUCHED_DEMO_SALE = """
    SELECT flash_sales.id
    FROM flash_sales JOIN products ON products.id = flash_sales.product_id
    WHERE products.slug = %(slug)s AND flash_sales.total_stock = %(units)s
      AND flash_sales.settled_through = 0 AND flash_sales.sold = 0 AND flash_sales.reserved = 0
      AND flash_sales.state IN ('scheduled', 'live') AND NOT flash_sales.paused AND flash_sales.archived_at IS NULL
      AND flash_sales.starts_at < now() + interval '1 minute'
      AND coalesce(flash_sales.ends_at > now() + interval '5 minutes', true)
      AND coalesce(flash_sales.max_per_purchase >= %(quantity)s, true)
      AND coalesce(flash_sales.max_per_user >= %(quantity)s, true)
    ORDER BY flash_sales.id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class RushSale:
    """A sale that a crowd is about to rush. Moments are seconds since the epoch by the shop's clock."""

    sale_id: int
    total_stock: int
    opens_at: float
    asked_at: float
    clock_ahead_seconds: float  # the shop's clock minus ours

    @property
    def opened_for_us_at(self) -> float:
        """When the crowd could first buy: at the opening, or at once where that was long ago."""
        return max(self.opens_at, self.asked_at)

    @property
    def opens_in_seconds(self) -> float:
        """Seconds from now until then by our own clock; negative when it is over."""
        return self.opened_for_us_at - self.clock_ahead_seconds - time.time()


def untouched_demo_sale(connection: psycopg.Connection, *, units: int, quantity: int) -> int | None:
    """The demo's sale if it has so many units, none of them sold or held, and can be bought within a minute."""
    found = connection.execute(
        UNTOUCHED_DEMO_SALE, {"slug": PRODUCT_SLUG, "units": units, "quantity": quantity}
    ).fetchone()
    return int(found[0]) if found else None


async def find_sale(shop: Shop, sale_id: int) -> RushSale:
    """A sale that can be bought from, now or soon; raises OpsError where there is none such."""
    sent = time.time()
    try:
        answer = await shop.ask("GET", f"/api/flash-sales/{sale_id}")
    except TroubleError as why:
        raise OpsError(f"the shop does not answer ({why}): look into the web log") from why
    received = time.time()
    if not answer.is_good:
        raise OpsError(f"there is no sale {sale_id} to rush for: {answer.code}")
    data = answer.data
    if data["status"] not in ("UPCOMING", "LIVE"):
        raise OpsError(f"sale {sale_id} is {str(data['status']).lower()}: name another with SALE=, or none")
    server_time = _epoch(data["serverTime"])
    sale = RushSale(
        sale_id=sale_id,
        total_stock=int(data["totalStock"]),
        opens_at=_epoch(data["startTime"]),
        asked_at=server_time + (received - sent) / 2,
        clock_ahead_seconds=server_time - (sent + received) / 2,
    )
    if sale.opens_in_seconds > OPENING_SECONDS_MAX:
        raise OpsError(f"sale {sale_id} opens only at {data['startTime']}: that is too long to wait for")
    return sale


async def make_sales(shop: Shop, admin_token: str, *, count: int, units: int) -> list[int]:
    """So many fresh sales of `units` each, every one of its own product, opening at one moment; raises OpsError."""
    starts_at = now() + FRESH_OPENS_IN + count * MAKING_ONE_TAKES
    return [await _make_sale(shop, admin_token, units, starts_at) for _ in range(count)]


async def _make_sale(shop: Shop, admin_token: str, units: int, starts_at: datetime) -> int:
    name = f"Rush {secrets.token_hex(3)}"
    product_id = await _create(shop, admin_token, "/api/products", {"name": name, "price": str(PRICE)})
    sale: dict[str, str | int] = {
        "productId": product_id,
        "title": name,
        "flashPrice": str(FLASH_PRICE),
        "totalStock": units,
        "startTime": to_iso(starts_at),
    }
    return int(await _create(shop, admin_token, "/api/flash-sales", sale))


async def _create(shop: Shop, token: str, path: str, body: dict[str, str | int]) -> str:
    """Make one thing through the API and return its id."""
    try:
        answer = await shop.ask("POST", path, token=token, body=orjson.dumps(body))
    except TroubleError as why:
        raise OpsError(f"the shop does not answer ({why}): look into the web log") from why
    if not answer.is_good:
        raise OpsError(f"POST {path} was refused: {answer.code} {answer.body.get('errors') or ''}".rstrip())
    return str(answer.data["id"])


def _epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
