"""The proof: recount a sale's purchases and movements against its row, and say whether they agree.

A disagreement is a defect of this software: it raises an alarm, and nothing here mends it.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from models.archives import ArchivedBook
from models.database import snapshot
from models.movement import STOCK_KINDS
from models.sale import FlashSale
from models.sale_rules import SaleNotFoundError

# Units and tickets of a sale by outcome.
PURCHASES = text("""
    SELECT status, count(*), coalesce(sum(quantity), 0)
    FROM purchases WHERE sale_id = :sale_id GROUP BY status
""")
# Units of a sale by movement.
MOVEMENTS = text("""
    SELECT kind, coalesce(sum(quantity), 0) FROM stock_movements WHERE sale_id = :sale_id GROUP BY kind
""")
# The ends of the line; tickets start at 1 and leave no gap, so the last one is also their count.
LINE = text(
    "SELECT coalesce(min(ticket), 0), coalesce(max(ticket), 0), count(*) FROM purchases WHERE sale_id = :sale_id"
)
# Units in the buyers' totals that the leaderboard is read from.
TOTALS = text("SELECT coalesce(sum(units), 0) FROM buyer_totals WHERE sale_id = :sale_id")


@dataclass(frozen=True, slots=True)
class Check:
    """One count: what the sale's row says, and what the recount found."""

    name: str
    recorded: int
    counted: int

    @property
    def agrees(self) -> bool:
        return self.recorded == self.counted


@dataclass(frozen=True, slots=True)
class Audit:
    """The recount of one sale at one moment, when its row had this revision.

    Of a sale whose history was archived, the row is held against what was counted before.
    """

    sale_id: int
    checks: tuple[Check, ...]
    tickets_by_status: dict[str, int]
    units_by_status: dict[str, int]
    revision: int
    history_archived_at: datetime | None

    @property
    def agrees(self) -> bool:
        return all(check.agrees for check in self.checks)


def audit_sale(sale_id: int) -> Audit:
    """Recount a sale within one snapshot of the database. Raises SaleNotFoundError."""
    with snapshot() as session:
        sale = session.get(FlashSale, sale_id)
        if sale is None:
            raise SaleNotFoundError
        if sale.history_archived_at is not None:
            book = session.get_one(ArchivedBook, sale_id)
            return _held_against(sale, book.counted, book.tickets_by_status, book.units_by_status)
        return _held_against(sale, *_count(session, sale_id))


def _count(session: Session, sale_id: int) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """What each check counts, and tickets and units by status."""
    rows = session.execute(PURCHASES, {"sale_id": sale_id}).all()
    tickets = {str(status): int(count) for status, count, _ in rows}
    units = {str(status): int(quantity) for status, _, quantity in rows}
    moved = {kind: int(total) for kind, total in session.execute(MOVEMENTS, {"sale_id": sale_id})}
    first, last, count = session.execute(LINE, {"sale_id": sale_id}).one()
    counted = {
        "sold": units.get("confirmed", 0),
        "buyerTotals": int(session.execute(TOTALS, {"sale_id": sale_id}).scalar_one()),
        "reserved": units.get("reserved", 0),
        "totalStock": sum(moved.get(kind, 0) for kind in STOCK_KINDS),
        "settledThrough": last,
        "tickets": count,
        "ticketsWithoutGap": last - first + 1 if count else 0,
        "holdsCancelled": moved.get("hold_cancelled", 0),
        "holdsExpired": moved.get("hold_expired", 0),
        "refunded": moved.get("refund", 0),
    }
    return counted, tickets, units


def _held_against(sale: FlashSale, counted: dict[str, int], tickets: dict[str, int], units: dict[str, int]) -> Audit:
    checks = (
        Check("sold", sale.sold, counted["sold"]),
        Check("buyerTotals", sale.sold, counted["buyerTotals"]),
        Check("reserved", sale.reserved, counted["reserved"]),
        Check("totalStock", sale.total_stock, counted["totalStock"]),
        Check("settledThrough", sale.settled_through, counted["settledThrough"]),
        Check("ticketsWithoutGap", counted["tickets"], counted["ticketsWithoutGap"]),
        Check("holdsCancelled", units.get("cancelled", 0), counted["holdsCancelled"]),
        Check("holdsExpired", units.get("expired", 0), counted["holdsExpired"]),
        Check("refunded", units.get("refunded", 0), counted["refunded"]),
    )
    return Audit(sale.id, checks, tickets, units, sale.revision, sale.history_archived_at)


def counted_by(audit: Audit) -> dict[str, int]:
    """What its checks counted, as an ArchivedBook keeps it."""
    return {check.name: check.counted for check in audit.checks} | {"tickets": sum(audit.tickets_by_status.values())}
