"""A sale at one revision, as the gate, the pages and the sockets know it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from models.clock import to_ms
from models.decide import SaleTerms
from models.sale import EndReason, FlashSale, SaleState


@dataclass(frozen=True, slots=True)
class SaleSnapshot:
    """What of a sale is told to everyone. Times are milliseconds since the epoch."""

    sale_id: int
    revision: int
    state: str
    end_reason: str | None
    paused: bool
    total_stock: int
    sold: int
    reserved: int
    starts_ms: int
    ends_ms: int | None
    max_per_purchase: int | None
    max_per_user: int | None
    settled_through: int
    dedicated: bool
    # Out of sight. Absent from what an older process wrote.
    archived: bool = False

    @property
    def remaining(self) -> int:
        return self.total_stock - self.sold - self.reserved

    @property
    def is_over(self) -> bool:
        return self.state in (SaleState.ENDED, SaleState.CANCELLED)

    @classmethod
    def of(cls, sale: FlashSale) -> Self:
        return cls(
            sale_id=sale.id,
            revision=sale.revision,
            state=str(sale.state),
            end_reason=str(sale.end_reason) if sale.end_reason else None,
            paused=sale.paused,
            total_stock=sale.total_stock,
            sold=sale.sold,
            reserved=sale.reserved,
            starts_ms=to_ms(sale.starts_at),
            ends_ms=to_ms(sale.ends_at) if sale.ends_at else None,
            max_per_purchase=sale.max_per_purchase,
            max_per_user=sale.max_per_user,
            settled_through=sale.settled_through,
            dedicated=sale.dedicated,
            archived=sale.archived_at is not None,
        )

    def to_wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIELDS}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Self:
        """The snapshot from its JSON; fields that a newer process added are passed over."""
        return cls(**{name: wire[name] for name in _fields_of(wire)})

    def to_view(self) -> dict[str, str | int]:
        """The fields of the gate's view; the empty string stands for None."""
        view = {name: _plain(getattr(self, name)) for name in FIELDS if name != "sale_id"}
        return view | {"remaining": self.remaining}

    @classmethod
    def from_view(cls, sale_id: int, view: Mapping[str, str]) -> Self:
        """The snapshot from the gate's view. Raises LookupError and ValueError for what `to_view` did not write."""
        read = {name: _read(name, view[name]) for name in _fields_of(view) if name != "sale_id"}
        return cls(sale_id=sale_id, **read)


FIELDS = tuple(field.name for field in fields(SaleSnapshot))
VIEW_READERS: Mapping[str, Callable[[str], Any]] = {
    "state": SaleState,
    "end_reason": EndReason,
    "paused": lambda text: bool(int(text)),
    "dedicated": lambda text: bool(int(text)),
    "archived": lambda text: bool(int(text)),
}
MAY_BE_NONE = frozenset({"end_reason", "ends_ms", "max_per_purchase", "max_per_user"})
MAY_BE_ABSENT = frozenset({"archived"})


def _fields_of(written: Mapping[str, Any]) -> list[str]:
    return [name for name in FIELDS if name in written or name not in MAY_BE_ABSENT]


def _read(name: str, text: str) -> Any:
    value = None if text == "" and name in MAY_BE_NONE else VIEW_READERS.get(name, int)(text)
    return str(value) if isinstance(value, StrEnum) else value


def _plain(value: Any) -> str | int:
    if value is None:
        return ""
    plain: str | int = int(value) if isinstance(value, bool) else value
    return plain


def terms_of(sale: FlashSale) -> SaleTerms:
    """What of a sale's row `decide()` rests on."""
    return SaleTerms(
        total_stock=sale.total_stock,
        sold=sale.sold,
        reserved=sale.reserved,
        starts_ms=to_ms(sale.starts_at),
        ends_ms=to_ms(sale.ends_at) if sale.ends_at else None,
        state=SaleState(sale.state),
        paused=sale.paused,
        max_per_purchase=sale.max_per_purchase,
        max_per_user=sale.max_per_user,
        hold_seconds=sale.hold_seconds,
    )
