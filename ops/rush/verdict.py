"""The verdict: what the buyers counted, held against the shop's own books. One wrong unit and the rush has failed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.rush.tally import SaleCount

STOCK_REFUSALS = ("SOLD_OUT", "INSUFFICIENT_STOCK")
RETURNS = ("reserved", "cancelled", "expired", "refunded")


@dataclass(frozen=True, slots=True)
class SaleBooks:
    """What the shop says of one sale after the rush.

    `sold_to_others` are the units of whoever bought there too (before, or beside the crowd). `moved` says that units
    came back or the stock was changed meanwhile: an early "sold out" was then right although units are left now.
    """

    sale_id: int
    total_stock: int
    sold: int
    agrees: bool
    disagreements: tuple[str, ...] = ()
    sold_to_others: int = 0
    moved: bool = False

    @classmethod
    def of_audit(cls, audit: Mapping[str, Any], *, stock_before: int, sold_to_others: int) -> "SaleBooks":
        """The books from the answer of `GET /api/flash-sales/{id}/audit`."""
        recorded = {check["name"]: int(check["recorded"]) for check in audit["checks"]}
        units = audit.get("unitsByStatus", {})
        return cls(
            sale_id=int(audit["saleId"]),
            total_stock=recorded["totalStock"],
            sold=recorded["sold"],
            agrees=bool(audit["agrees"]),
            disagreements=tuple(
                f"{check['name']} is {check['recorded']} in the sale's row and {check['counted']} by recount"
                for check in audit["checks"]
                if not check["agrees"]
            ),
            sold_to_others=sold_to_others,
            moved=recorded["totalStock"] != stock_before or any(units.get(status, 0) for status in RETURNS),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every fault in a sentence, none if all is right, and the rush's figures as they go to JSON."""

    faults: tuple[str, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def is_right(self) -> bool:
        return not self.faults

    @property
    def exit_status(self) -> int:
        return 0 if self.is_right else 1


def judge(pairs: Iterable[tuple[SaleCount, SaleBooks | None]]) -> tuple[str, ...]:
    """Every fault of a rush, sale by sale. A sale whose books nobody could read proves nothing, so that is one too."""
    return tuple(fault for count, books in pairs for fault in _faults(count, books))


def _faults(count: SaleCount, books: SaleBooks | None) -> Iterator[str]:
    where = f"sale {count.sale_id}"
    for fault in _faults_of_answers(count):
        yield f"{where}: {fault}"
    if books is None:
        yield f"{where}: its audit could not be had"
        return
    for fault in _faults_of_units(count, books):
        yield f"{where}: {fault}"


def _faults_of_answers(count: SaleCount) -> Iterator[str]:
    """What the buyers know to be wrong without any books."""
    if count.lost:
        yield f"{count.lost} accepted requests have no outcome"
    if count.unanswered:
        yield f"{count.unanswered} buyers never had an answer"
    if count.doubled:
        yield f"{count.doubled} buyers share a purchase with somebody else"
    if count.misjudged:
        yield f"{count.misjudged} confirmed purchases are not what was asked for"
    for status, times in sorted(count.other_statuses.items()):
        yield f"{times} purchases became {status}, which a purchase cannot"


def _faults_of_units(count: SaleCount, books: SaleBooks) -> Iterator[str]:
    if books.sold > books.total_stock:
        yield f"oversold: {books.sold} units of {books.total_stock}"
    if not books.agrees:
        yield "the audit disagrees: " + ("; ".join(books.disagreements) or "it does not say where")
    expected = count.confirmed_units + books.sold_to_others
    if books.sold != expected:
        others = f" and others have {books.sold_to_others}" if books.sold_to_others else ""
        yield f"the shop sold {books.sold} units, but the buyers counted {count.confirmed_units}{others}"
    left = books.total_stock - books.sold
    if left <= 0 or books.moved:
        return
    turned_away = sum(count.refused[code] + count.rejected[code] for code in STOCK_REFUSALS)
    if turned_away and left >= count.quantity:
        yield f"{left} units are left although {turned_away} buyers were told that there were none for them"
    elif count.quantity == 1 and count.asked_units >= books.total_stock - books.sold_to_others:
        yield f"only {books.sold} of {books.total_stock} units were sold although {count.buyers} buyers wanted one"
