"""Receipts: which purchases an Idempotency-Key moved, so that the same request sent again gets the same answer.

Asking for units is remembered by the gate and with the purchase itself. Checkout and refund have no ticket of their
own, so their keys are kept here, in the transaction that did what was asked: there is a receipt if and only if it was
done. What was refused leaves none, and may be asked again with the same key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CheckConstraint, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.types import BigInteger

from models.constraints import violates
from models.database import Base, transaction
from models.errors import DomainError
from models.gate import KeyReusedError
from models.purchase import Purchase
from models.record import PurchaseRecord


class Receipt(Base):
    """One request with a key that was done: what it asked, and the purchases of one sale that it changed."""

    __tablename__ = "receipts"
    __table_args__ = (CheckConstraint("cardinality(tickets) >= 1", name="something_was_done"),)

    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    # The action and its body in one line: the same key with another line is another request.
    request: Mapped[str]
    sale_id: Mapped[int]
    tickets: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    done_at: Mapped[datetime] = mapped_column(server_default=func.now())


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that may be sent again: who sends it, its Idempotency-Key, and what it asks in one line."""

    user_id: int
    key: str
    request: str

    def keep(self, session: Session, sale_id: int, tickets: Sequence[int]) -> None:
        """Write the receipt, in the transaction that does what is asked."""
        session.add(
            Receipt(
                user_id=self.user_id,
                idempotency_key=self.key,
                request=self.request,
                sale_id=sale_id,
                tickets=list(tickets),
            )
        )


def done_once(claim: Claim | None, do: Callable[[], list[PurchaseRecord]]) -> list[PurchaseRecord]:
    """What `do` changed, or what the same request changed before, as it stands now.

    `do` must keep the claim in its own transaction. Two of the same at once: the sale's row lock lets one through, the
    other is refused by the rules and then finds the first one's receipt. Raises KeyReusedError, and what `do` raises.
    """
    if claim is None:
        return do()
    if earlier := _find(claim):
        return earlier
    try:
        return do()
    except DomainError:
        if earlier := _find(claim):
            return earlier
        raise
    except IntegrityError as error:
        # The key was used at the same moment for something else, under another sale's lock.
        if violates(error, "pk_receipts") and (earlier := _find(claim)):
            return earlier
        raise


def _find(claim: Claim) -> list[PurchaseRecord]:
    with transaction() as session:
        receipt = session.get(Receipt, (claim.user_id, claim.key))
        if receipt is None:
            return []
        if receipt.request != claim.request:
            raise KeyReusedError
        rows = select(Purchase).where(Purchase.sale_id == receipt.sale_id, Purchase.ticket.in_(receipt.tickets))
        return [PurchaseRecord.of(row) for row in session.scalars(rows.order_by(Purchase.ticket))]
