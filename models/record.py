"""A purchase as it is told to its buyer, whether it waits in the mailbox, is in the news, or stands in its row."""

from decimal import Decimal
from typing import Any, NamedTuple, Self

from models.clock import to_ms
from models.decide import Request
from models.purchase import Purchase, Status


class PurchaseRecord(NamedTuple):
    """One purchase at one moment. Money is Decimal in `currency`; times are milliseconds since the epoch.

    `position` (tickets still ahead) and `estimate_seconds` are there only while it is queued. A tuple, as requests are:
    one is made for every outcome in the worker, and in each process that hears of it.
    """

    sale_id: int
    ticket: int
    user_id: int
    kind: str
    quantity: int
    status: str
    reason: str | None = None
    unit_price: Decimal | None = None
    total_amount: Decimal | None = None
    currency: str | None = None
    admitted_ms: int | None = None
    settled_ms: int | None = None
    expires_ms: int | None = None
    closed_ms: int | None = None
    duplicate_of: int | None = None
    original_ticket: int | None = None
    revision: int = 0
    position: int | None = None
    estimate_seconds: float | None = None
    # What heard of it goes on in this trace (models/tracing.py): never told to a client, and beside the wire form.
    trace: str | None = None

    @property
    def is_settled(self) -> bool:
        return self.status != Status.QUEUED

    @classmethod
    def of(cls, row: Purchase) -> Self:
        return cls(
            sale_id=row.sale_id,
            ticket=row.ticket,
            user_id=row.user_id,
            kind=str(row.kind),
            quantity=row.quantity,
            status=str(row.status),
            reason=str(row.reason) if row.reason else None,
            unit_price=row.unit_price,
            total_amount=row.total_amount,
            currency=row.currency,
            admitted_ms=to_ms(row.admitted_at),
            settled_ms=to_ms(row.settled_at),
            expires_ms=to_ms(row.expires_at) if row.expires_at else None,
            closed_ms=to_ms(row.closed_at) if row.closed_at else None,
            duplicate_of=row.duplicate_of,
            original_ticket=row.original_ticket,
            revision=row.revision,
        )

    @classmethod
    def queued(cls, sale_id: int, request: Request, position: int, estimate_seconds: float) -> Self:
        return cls(
            sale_id=sale_id,
            ticket=request.ticket,
            user_id=request.user_id,
            kind=str(request.kind),
            quantity=request.quantity,
            status=Status.QUEUED,
            admitted_ms=request.admitted_ms,
            original_ticket=request.original_ticket,
            position=position,
            estimate_seconds=estimate_seconds,
        )

    def to_wire(self) -> list[Any]:
        """A JSON list, in the order of the fields, with money as text."""
        values: list[Any] = list(self[:TRACE])
        for index in MONEY:
            values[index] = None if values[index] is None else str(values[index])
        return values

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        values = list(wire)
        for index in MONEY:
            values[index] = None if values[index] is None else Decimal(values[index])
        return cls(*values)


# Where the wire form has money, and where it ends.
MONEY = tuple(PurchaseRecord._fields.index(name) for name in ("unit_price", "total_amount"))
TRACE = PurchaseRecord._fields.index("trace")
