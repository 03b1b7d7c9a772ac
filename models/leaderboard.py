"""The leaderboards: who bought, in order of admission, and who bought most, with ranks that equals share.

Each is one walk of an index from where the last page ended, so a page costs the same whatever else was sold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, text

from models.clock import to_ms
from models.replica import read_lately

LIMIT_MAX = 100

# A page of a sale's confirmed purchases in ticket order, with their buyers as far as they are known.
CHRONOLOGICAL = text("""
    SELECT bought.sale_id, bought.ticket, bought.user_id, bought.quantity, bought.admitted_at,
           (SELECT product_id FROM flash_sales WHERE id = bought.sale_id) AS product_id, buyer.name, buyer.email
    FROM (
      SELECT sale_id, ticket, user_id, quantity, admitted_at FROM purchases
      WHERE sale_id = :sale_id AND ticket > :after AND status = 'confirmed'
      ORDER BY ticket LIMIT :limit
    ) AS bought
    LEFT JOIN users AS buyer ON buyer.id = bought.user_id
    ORDER BY bought.ticket
""")

# The newest confirmed purchases of all sales, archived ones too: leaving those out would mean walking past them.
LATEST = text("""
    SELECT bought.sale_id, bought.ticket, bought.user_id, bought.quantity, bought.admitted_at,
           (SELECT product_id FROM flash_sales WHERE id = bought.sale_id) AS product_id, buyer.name, buyer.email
    FROM (
      SELECT sale_id, ticket, user_id, quantity, admitted_at FROM purchases
      WHERE status = 'confirmed'
      ORDER BY admitted_at DESC, sale_id DESC, ticket DESC LIMIT :limit
    ) AS bought
    LEFT JOIN users AS buyer ON buyer.id = bought.user_id
    ORDER BY bought.admitted_at, bought.sale_id, bought.ticket
""")

# A page of totals: the rest of those who have as many units as the last buyer shown, then those who have fewer. Two
# walks of one index; a single condition over both would walk through all the equals again for every page.
BY_TOTALS = text("""
    SELECT total.user_id, total.units, total.first_ticket, buyer.name, buyer.email
    FROM (
      (SELECT user_id, units, first_ticket FROM buyer_totals
       WHERE sale_id = :sale_id AND units = :units AND first_ticket > :first_ticket
       ORDER BY units DESC, first_ticket LIMIT :limit)
      UNION ALL
      (SELECT user_id, units, first_ticket FROM buyer_totals
       WHERE sale_id = :sale_id AND units < :units
       ORDER BY units DESC, first_ticket LIMIT :limit)
      ORDER BY units DESC, first_ticket LIMIT :limit
    ) AS total
    LEFT JOIN users AS buyer ON buyer.id = total.user_id
    ORDER BY total.units DESC, total.first_ticket
""")


@dataclass(frozen=True, slots=True)
class Row:
    """One confirmed purchase. `admitted_ms` is milliseconds since the epoch; an unknown buyer has no name."""

    sale_id: int
    ticket: int
    user_id: int
    quantity: int
    admitted_ms: int
    product_id: int
    name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of totals ended: what the ranks of the next one follow from. `position` counts from 1."""

    units: int
    first_ticket: int
    rank: int
    position: int


@dataclass(frozen=True, slots=True)
class RankedRow:
    """One buyer's units of a sale. Equals share a rank and the next rank is skipped: 1, 1, 3."""

    user_id: int
    name: str | None
    email: str | None
    place: Place

    @property
    def rank(self) -> int:
        return self.place.rank

    @property
    def units(self) -> int:
        return self.place.units


def chronological(sale_id: int, limit: int, after_ticket: int | None = None) -> list[Row]:
    """A sale's confirmed purchases in order of admission, at most `limit` after the ticket. Empty for no such sale."""
    values = {"sale_id": sale_id, "after": after_ticket or 0, "limit": limit}
    return read_lately(lambda session: [_row(found) for found in session.execute(CHRONOLOGICAL, values).mappings()])


def latest_across_sales(limit: int) -> list[Row]:
    """The newest `limit` confirmed purchases of all sales, the oldest of them first."""
    values = {"limit": limit}
    return read_lately(lambda session: [_row(found) for found in session.execute(LATEST, values).mappings()])


def by_totals(sale_id: int, limit: int, after: Place | None = None) -> list[RankedRow]:
    """A sale's buyers, most units first and among equals whoever came first, at most `limit` after the place."""
    # Before the first buyer: more units than anybody can have.
    place = after or Place(units=2**63 - 1, first_ticket=0, rank=0, position=0)
    values = {"sale_id": sale_id, "units": place.units, "first_ticket": place.first_ticket, "limit": limit}
    return read_lately(lambda session: _ranked(session.execute(BY_TOTALS, values).mappings().all(), place))


def _ranked(found: Sequence[RowMapping], place: Place) -> list[RankedRow]:
    ranked = []
    for each in found:
        position = place.position + 1
        rank = place.rank if each["units"] == place.units else position
        place = Place(each["units"], each["first_ticket"], rank, position)
        ranked.append(RankedRow(each["user_id"], each["name"], each["email"], place))
    return ranked


def _row(found: RowMapping) -> Row:
    values: dict[str, Any] = dict(found)
    return Row(admitted_ms=to_ms(values.pop("admitted_at")), **values)
